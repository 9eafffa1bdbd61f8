//! The rows of `xtask/mutants.toml`: a replacement, and the test that must fail.

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// Where the rows stand.
pub(crate) const PATH: &str = "xtask/mutants.toml";

/// One mutant.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mutant {
    /// Its name.
    pub(crate) id: String,
    /// The file that it changes.
    pub(crate) file: String,
    /// What no longer holds, in one line.
    pub(crate) breaks: String,
    /// The text to replace, which occurs once in the file: an expression, or statements if it ends with `;` or `}`.
    pub(crate) find: String,
    /// Text that occurs once in the file and contains `find` once, if `find` alone occurs more often.
    pub(crate) within: Option<String>,
    /// What takes its place.
    pub(crate) replace: String,
    /// Who looks for it.
    pub(crate) by: Seeker,
    /// Whether it is neither an expression nor statements, so that it needs its own build.
    #[serde(default)]
    pub(crate) alone: bool,
    /// Whether the short run tries it.
    #[serde(default)]
    pub(crate) smoke: bool,
}

impl Mutant {
    /// Where in the file's text it is.
    pub(crate) fn place(&self, text: &str) -> Result<Range<usize>> {
        let around = match &self.within {
            Some(within) => self.only("within", within, text)?,
            None => 0..text.len(),
        };
        let place = self.only("find", &self.find, &text[around.clone()])?;
        Ok(around.start + place.start..around.start + place.end)
    }

    /// The one place at which `wanted` stands.
    fn only(&self, field: &str, wanted: &str, text: &str) -> Result<Range<usize>> {
        let mut places = text.match_indices(wanted);
        let Some((start, found)) = places.next() else {
            bail!("mutant `{}`: its `{field}` does not stand in {}", self.id, self.file)
        };
        if places.next().is_some() {
            bail!("mutant `{}`: its `{field}` stands more than once in {}", self.id, self.file)
        }
        Ok(start..start + found.len())
    }
}

/// Who looks for a mutant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Seeker {
    /// The simulation: `sim`.
    Simulation,
    /// The tests of a crate whose names contain a word: `crate target word`, where the word is optional. The target
    /// is the name of a file in `tests`, or `lib`.
    Tests { package: String, target: String, word: String },
    /// The models of a crate under loom: `loom crate word`.
    Loom { package: String, word: String },
}

impl FromStr for Seeker {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let owned = |word: &str| word.to_owned();
        match text.split(' ').collect::<Vec<_>>().as_slice() {
            ["sim"] => Ok(Self::Simulation),
            ["loom", package, word] => Ok(Self::Loom { package: owned(package), word: owned(word) }),
            [package, target] => {
                Ok(Self::Tests { package: owned(package), target: owned(target), word: String::new() })
            }
            [package, target, word] => {
                Ok(Self::Tests { package: owned(package), target: owned(target), word: owned(word) })
            }
            _ => Err(format!("`{text}` is no `sim`, `crate target [word]` or `loom crate word`")),
        }
    }
}

impl TryFrom<String> for Seeker {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Seeker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Simulation => write!(f, "the simulation"),
            Self::Tests { package, target, word } => write!(f, "{package} {target} {word}"),
            Self::Loom { package, word } => write!(f, "loom {package} {word}"),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    mutant: Vec<Mutant>,
}

/// Reads the rows.
pub(crate) fn parse(text: &str) -> Result<Vec<Mutant>> {
    let table: Table = toml::from_str(text).with_context(|| format!("{PATH} is no list of mutants"))?;
    Ok(table.mutant)
}
