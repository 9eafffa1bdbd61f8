//! Bugs planted on purpose, so that the trials can be tried: a trial that catches none of them proves nothing.
//!
//! Each stands beside the line it spoils, as `if planted!("14")`. In an ordinary build all of them are the
//! constant `false`. `--cfg mutant="14"` builds one of them in; `--cfg mutant="any"` builds all of them in
//! and lets the variable `NAKSI_MUTANT` choose one when the program starts, which is what
//! `cargo xtask mutants` does. Nothing here knows what a bug spoils; the list is in docs/reliability.md.

/// Whether the bug with this number is planted in this build and chosen.
#[macro_export]
macro_rules! planted {
    ($number:literal) => {
        cfg!(mutant = $number) || $crate::planted::is_chosen($number)
    };
}

/// Whether the variable `NAKSI_MUTANT` chose this bug. Never, unless the build has all of them.
#[cfg(not(mutant = "any"))]
#[inline(always)]
pub const fn is_chosen(_number: &str) -> bool {
    false
}

/// Whether the variable `NAKSI_MUTANT` chose this bug.
#[cfg(mutant = "any")]
pub fn is_chosen(number: &str) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("NAKSI_MUTANT").ok()).as_deref() == Some(number)
}
