//! What one receiver has received from one sender: the next expected number, and the missing numbers. Numbers begin
//! at 0 and increase by one.

use std::collections::BTreeSet;

/// What a received number shows about the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    InOrder,
    /// Numbers before it are missing so far.
    Ahead,
    /// It was missing, and came behind a later one.
    OutOfOrder,
    Duplicate,
}

/// The order of one sender's messages at one receiver.
#[derive(Debug, Default)]
pub(crate) struct Order {
    next: u32,
    /// Empty in a healthy stream, and then it costs no allocation.
    missing: BTreeSet<u32>,
}

/// Beyond this many missing numbers, they are not tracked individually.
const MISSING_MAX: usize = 65_536;

impl Order {
    /// A message with this number came.
    pub(crate) fn came(&mut self, number: u32) -> Verdict {
        if number == self.next {
            self.next += 1;
            return Verdict::InOrder;
        }
        if number > self.next {
            let room = MISSING_MAX.saturating_sub(self.missing.len());
            self.missing.extend((self.next..number).take(room));
            self.next = number + 1;
            return Verdict::Ahead;
        }
        if self.missing.remove(&number) { Verdict::OutOfOrder } else { Verdict::Duplicate }
    }

    /// How many different numbers came.
    pub(crate) fn distinct(&self) -> u32 {
        self.next - u32::try_from(self.missing.len()).unwrap_or(u32::MAX).min(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_be_wrong_has_its_name() {
        let mut order = Order::default();
        assert_eq!(order.came(0), Verdict::InOrder);
        assert_eq!(order.came(3), Verdict::Ahead);
        assert_eq!(order.came(1), Verdict::OutOfOrder);
        assert_eq!(order.came(1), Verdict::Duplicate);
        assert_eq!(order.came(3), Verdict::Duplicate);
        assert_eq!(order.came(4), Verdict::InOrder);
        assert_eq!(order.distinct(), 4, "0, 1, 3 and 4: 2 is lost");
    }
}
