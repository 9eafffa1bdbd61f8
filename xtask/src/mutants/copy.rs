//! A copy of the tree with mutants in it.

use anyhow::{Context as _, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::rows::Mutant;
use crate::root;

/// The variable that selects a mutant in a program of the copy.
pub(super) const CHOICE: &str = "MUTANT_CHOSEN";

/// Code added to each changed crate of the copy: whether a mutant is selected.
const HELPER: &str = r#"
pub(crate) fn mutant_is_chosen(id: &str) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("MUTANT_CHOSEN").ok()).as_deref() == Some(id)
}
"#;

/// A copy of the tree, below cargo's target folder.
pub(super) struct Copy {
    files: Vec<PathBuf>,
}

impl Copy {
    /// Lists what git knows or would add.
    pub(super) fn of_the_tree() -> Result<Self> {
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root::workspace())
            .output()
            .context("cannot start git")?;
        ensure!(listed.status.success(), "git ls-files ended with {}", listed.status);
        let names = String::from_utf8(listed.stdout)?;
        let mut files: Vec<_> = names.split_terminator('\0').map(PathBuf::from).collect();
        // A file that was removed and not committed is listed.
        files.retain(|file| root::workspace().join(file).is_file());
        Ok(Self { files })
    }

    /// Where the copy is.
    pub(super) fn root(&self) -> PathBuf {
        root::target().join("mutants/tree")
    }

    /// Where its builds go.
    pub(super) fn target(&self) -> PathBuf {
        root::target().join("mutants/build")
    }

    /// Makes the copy anew, with these mutants.
    pub(super) fn apply(&self, mutants: &[&Mutant]) -> Result<()> {
        let mut changed = changed(mutants, |file| {
            let path = root::workspace().join(file);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        })?;
        for file in &self.files {
            let text = match changed.remove(file.to_string_lossy().as_ref()) {
                Some(text) => text.into_bytes(),
                None => fs::read(root::workspace().join(file))?,
            };
            write_if_other(&self.root().join(file), &text)?;
        }
        ensure!(changed.is_empty(), "git does not know {:?}", changed.keys());
        self.remove_others(&self.root())
    }

    /// What a copy made before has and the tree has not.
    fn remove_others(&self, folder: &Path) -> Result<()> {
        let known: BTreeSet<_> = self.files.iter().map(|file| self.root().join(file)).collect();
        let mut folders = vec![folder.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if !known.contains(&path) {
                    fs::remove_file(path)?;
                }
            }
        }
        Ok(())
    }
}

/// The texts of the files that mutants change, by path.
fn changed(mutants: &[&Mutant], read: impl Fn(&str) -> Result<String>) -> Result<BTreeMap<String, String>> {
    let mut by_file: BTreeMap<&str, Vec<&Mutant>> = BTreeMap::new();
    for mutant in mutants {
        by_file.entry(&mutant.file).or_default().push(mutant);
    }
    let mut texts = BTreeMap::new();
    let mut crates = BTreeSet::new();
    for (file, mutants) in by_file {
        texts.insert(file.to_owned(), with_mutants(&read(file)?, &mutants)?);
        let (folder, _) = file.split_once("/src/").with_context(|| format!("{file} is no crate's source"))?;
        crates.insert(format!("{folder}/src/lib.rs"));
    }
    for file in crates {
        let text = match texts.remove(&file) {
            Some(text) => text,
            None => read(&file)?,
        };
        texts.insert(file, text + HELPER);
    }
    Ok(texts)
}

/// A file's text with mutants in it: one that needs its own build is inserted as it is, all others behind a
/// condition.
fn with_mutants(text: &str, mutants: &[&Mutant]) -> Result<String> {
    let mut places = Vec::new();
    for mutant in mutants {
        places.push((mutant.place(text)?, *mutant));
    }
    places.sort_by_key(|(place, _)| place.start);
    let mut made = String::new();
    let mut done = 0;
    for (place, mutant) in places {
        ensure!(place.start >= done, "mutant `{}` begins inside another one", mutant.id);
        made.push_str(&text[done..place.start]);
        made.push_str(&in_place(mutant));
        done = place.end;
    }
    made.push_str(&text[done..]);
    Ok(made)
}

fn in_place(mutant: &Mutant) -> String {
    let Mutant { id, find, replace, alone, .. } = mutant;
    if *alone {
        return replace.clone();
    }
    let both = format!("if crate::mutant_is_chosen(\"{id}\") {{ {replace} }} else {{ {find} }}");
    if find.ends_with([';', '}']) { both } else { format!("({both})") }
}

/// An unchanged file keeps its modification time, so that cargo builds only what has changed.
fn write_if_other(path: &Path, text: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::rows::parse;
    use super::*;

    const ROWS: &str = r#"
        [[mutant]]
        id = "expression"
        file = "crates/one/src/a.rs"
        breaks = "a limit"
        find = "count < max"
        replace = "true"
        by = "sim"

        [[mutant]]
        id = "statement"
        file = "crates/one/src/a.rs"
        breaks = "a call"
        find = "go();"
        replace = ""
        by = "sim"
    "#;

    #[test]
    fn mutants_stand_behind_a_condition_and_their_crate_can_ask_it() {
        let mutants = parse(ROWS).expect("rows that make sense");
        let read = |file: &str| {
            Ok(if file.ends_with("a.rs") { "if count < max {\n    go();\n}\n" } else { "mod a;\n" }
                .to_owned())
        };
        let texts = changed(&mutants.iter().collect::<Vec<_>>(), read).expect("both are found");
        assert_eq!(
            texts["crates/one/src/a.rs"],
            "if (if crate::mutant_is_chosen(\"expression\") { true } else { count < max }) {\n    \
             if crate::mutant_is_chosen(\"statement\") {  } else { go(); }\n}\n"
        );
        assert_eq!(texts["crates/one/src/lib.rs"], format!("mod a;\n{HELPER}"));
        assert!(HELPER.contains(CHOICE));
    }

    #[test]
    fn a_mutant_inside_another_is_refused() {
        let rows = ROWS.replace("go();", "< max");
        let mutants = parse(&rows).expect("rows that make sense");
        let read = |_: &str| Ok("if count < max {}".to_owned());
        assert!(changed(&mutants.iter().collect::<Vec<_>>(), read).is_err());
    }
}
