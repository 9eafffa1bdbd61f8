//! The names in one scope of the generated file: a name that is used twice is refused, with the second one's place.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::schema::{Schema, Site};

/// A scope: a namespace, a class, an enum.
pub(super) struct Scope<'a> {
    schema: &'a Schema,
    /// The language, for people.
    language: &'static str,
    /// Who has each name.
    taken: BTreeMap<String, String>,
}

impl<'a> Scope<'a> {
    pub(super) fn new(schema: &'a Schema, language: &'static str) -> Self {
        Self { schema, language, taken: BTreeMap::new() }
    }

    /// Gives an element of the files its generated name.
    pub(super) fn take(&mut self, name: &str, what: String, site: &Site) -> Result<(), Error> {
        let language = self.language;
        if !name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
            let message = format!("{what} has no letter to begin its name with in {language}");
            return Err(self.schema.refuse(site, &message, "begin its name with a letter"));
        }
        match self.taken.get(name) {
            Some(other) => {
                let message = format!("{what} and {other} would both be called `{name}` in {language}");
                Err(self.schema.refuse(site, &message, "rename one of them"))
            }
            None => {
                self.taken.insert(name.to_owned(), what);
                Ok(())
            }
        }
    }
}
