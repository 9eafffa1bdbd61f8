//! Suggestions for misspelled names, for errors that say "did you mean".

/// The known name nearest to a wrong one (Levenshtein distance), if at most a third of its bytes differ.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.into_iter().map(|name| (strsim::levenshtein(wrong, name), name));
    scored.min().filter(|(distance, name)| *distance <= name.len() / 3).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_miss_is_named_and_a_far_one_is_not() {
        let known = ["workers", "backend", "addresses"];
        assert_eq!(nearest("wokers", known), Some("workers"));
        assert_eq!(nearest("backends", known), Some("backend"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("wokrs", known), Some("workers"), "two of seven bytes");
        assert_eq!(nearest("wrks", known), None, "three of them are too many");
    }
}
