//! The rule of the mutants: the text of each row still occurs in its file, once.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Finding;
use super::tree::Tree;
use crate::mutants::rows::{PATH, parse};

/// A row that matches nothing changes nothing, and one that matches several places changes the wrong one.
pub(super) fn every_mutant_finds_its_place(tree: &Tree) -> Vec<Finding> {
    let Some(list) = tree.file(PATH) else { return Vec::new() };
    let mutants = match parse(&list.text) {
        Ok(mutants) => mutants,
        Err(error) => return vec![Finding::new(PATH, 0, format!("{error:#}"))],
    };
    let mut places: BTreeMap<(&str, usize), (Range<usize>, &str)> = BTreeMap::new();
    let mut findings = Vec::new();
    for (index, mutant) in mutants.iter().enumerate() {
        let mut tell = |text: String| {
            let marker = format!("id = \"{}\"", mutant.id);
            let line = list.text.lines().position(|line| line == marker).map_or(0, |line| line + 1);
            findings.push(Finding::new(PATH, line, text));
        };
        if mutants[..index].iter().any(|other| other.id == mutant.id) {
            tell(format!("there are two mutants `{}`", mutant.id));
        }
        if mutant.find == mutant.replace || mutant.breaks.is_empty() {
            tell(format!("mutant `{}` changes nothing, or does not say what it breaks", mutant.id));
        }
        let Some(file) = tree.file(&mutant.file) else {
            tell(format!("mutant `{}`: there is no {}", mutant.id, mutant.file));
            continue;
        };
        match mutant.place(&file.text) {
            Err(error) => tell(error.to_string()),
            Ok(_) if mutant.alone => {}
            Ok(place) => {
                places.insert((&mutant.file, place.start), (place, &mutant.id));
            }
        }
    }
    let pairs = places.iter().zip(places.iter().skip(1));
    findings.extend(pairs.filter_map(|(((file, _), (before, one)), ((next, _), (after, other)))| {
        let overlap = file == next && after.start < before.end;
        overlap.then(|| {
            Finding::new(PATH, 0, format!("mutants `{one}` and `{other}` overlap: one stands alone"))
        })
    }));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, find: &str) -> String {
        format!(
            "[[mutant]]\nid = \"{id}\"\nfile = \"crates/one/src/a.rs\"\nbreaks = \"a limit\"\n\
             find = \"{find}\"\nreplace = \"true\"\nby = \"sim\"\n"
        )
    }

    fn found(rows: &str) -> Vec<String> {
        let tree = Tree::sample(&[(PATH, rows), ("crates/one/src/a.rs", "a < b || a < b || c > d\n")]);
        every_mutant_finds_its_place(&tree).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_mutant_that_finds_one_place_is_fine() {
        assert_eq!(found(&row("one", "c > d")), Vec::<String>::new());
    }

    #[test]
    fn a_mutant_that_finds_no_place_or_several_is_told() {
        assert_eq!(
            found(&(row("none", "c < d") + &row("both", "a < b"))),
            [
                "xtask/mutants.toml:2: mutant `none`: its `find` does not stand in crates/one/src/a.rs",
                "xtask/mutants.toml:9: mutant `both`: its `find` stands more than once in crates/one/src/a.rs",
            ]
        );
    }

    #[test]
    fn mutants_that_overlap_or_share_a_name_are_told() {
        let rows = row("one", "c > d") + &row("one", "b || c");
        assert_eq!(found(&rows).len(), 2, "{:?}", found(&rows));
    }
}
