//! Catches the first panic of a run, with its words and its place, also one that the engine has caught in a callback.
//!
//! Nothing here knows what runs.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

/// What is known of the run on this thread.
struct Watched {
    /// Panics with this text are part of the run.
    planned: Option<&'static str>,
    first: Option<String>,
}

thread_local! {
    static RUN: RefCell<Option<Watched>> = const { RefCell::new(None) };
}

/// Runs something, and fails with its first panic, caught or not; later ones are mostly consequences of it. Panics
/// whose text contains `planned` do not count. Nothing is printed.
pub(crate) fn first_panic<T>(planned: Option<&'static str>, run: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |info| {
            let is_of_a_run = RUN.with_borrow_mut(|run| {
                let Some(run) = run else { return false };
                let text = info.payload_as_str().unwrap_or("");
                if run.planned.is_none_or(|planned| !text.contains(planned)) {
                    run.first.get_or_insert_with(|| info.to_string());
                }
                true
            });
            if !is_of_a_run {
                usual(info);
            }
        }));
    });
    RUN.set(Some(Watched { planned, first: None }));
    let result = catch_unwind(AssertUnwindSafe(run));
    match RUN.take().and_then(|run| run.first) {
        Some(first) => Err(first),
        None => result.map_err(|_| "a panic without words".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_panic_counts_even_if_it_was_caught() {
        let run = || {
            catch_unwind(|| panic!("the cause")).expect_err("it panics");
            catch_unwind(|| panic!("a consequence")).expect_err("it panics");
        };
        let text = first_panic(None, run).expect_err("it panicked");
        assert!(text.contains("the cause") && text.contains("panics.rs"), "{text}");
        assert_eq!(first_panic(None, || 7), Ok(7), "a run begins without the panics of the last one");
        assert!(first_panic(Some("planned"), || catch_unwind(|| panic!("as planned")).is_err()).is_ok());
    }
}
