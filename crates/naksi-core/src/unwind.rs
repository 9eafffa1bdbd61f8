//! Runs code that may panic, such as a callback: the panic is caught and its text is returned.
//!
//! The payload of a panic is a user's value whose destructor may panic as well, so it is dropped inside, where that
//! is caught too.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Dropping a payload may panic with another payload, and so on; after this many it is leaked.
const DROPS_MAX: usize = 8;

/// A panic that was caught.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked {
    text: String,
}

impl Panicked {
    /// The panic's text, or a placeholder if it has none.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Runs code that may panic. The code must not touch state that a panic could leave inconsistent, or the caller must
/// discard that state.
///
/// # Errors
/// It panicked.
pub fn catch_panic<T>(run: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(run)).map_err(take_text)
}

#[cold]
fn take_text(payload: Box<dyn Any + Send>) -> Panicked {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    discard(payload);
    Panicked { text: text.unwrap_or_else(|| "without a text".to_owned()) }
}

fn discard(mut payload: Box<dyn Any + Send>) {
    for _ in 0..DROPS_MAX {
        match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Ok(()) => return,
            Err(next) => payload = next,
        }
    }
    std::mem::forget(payload);
}

#[cfg(test)]
mod tests {
    use std::panic::panic_any;

    use super::*;

    /// Throws another one when it is dropped, so many times.
    struct Bomb(usize);

    impl Drop for Bomb {
        fn drop(&mut self) {
            if let Some(left) = self.0.checked_sub(1) {
                panic_any(Bomb(left));
            }
        }
    }

    #[test]
    fn a_panic_has_its_text_and_what_does_not_panic_its_result() {
        assert_eq!(catch_panic(|| 7), Ok(7));
        let text = |run: fn()| {
            catch_panic(run).map_err(|panicked| {
                assert_eq!(panicked.text(), panicked.to_string());
                panicked.to_string()
            })
        };
        assert_eq!(text(|| panic!("a text")), Err("a text".into()));
        assert_eq!(text(|| panic!("number {}", [7][0])), Err("number 7".into()));
        assert_eq!(text(|| panic_any(7_u32)), Err("without a text".into()));
    }

    #[test]
    fn what_was_thrown_may_panic_when_it_is_dropped_however_often() {
        for drops in [1, 2, DROPS_MAX, DROPS_MAX + 1, usize::MAX] {
            assert!(catch_panic(|| panic_any(Bomb(drops))).is_err(), "{drops}");
        }
    }
}
