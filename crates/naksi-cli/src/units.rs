//! Sizes and durations in readable form: `64KiB`, `30s`, `5ms`; and readable numbers.

use std::time::Duration;

use serde::Serializer;

/// Parses a duration. A unit is required, because a bare number is ambiguous.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let nanos = match unit {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" | "min" => 60e9,
        "h" => 3600e9,
        "" => return Err(format!("`{text}` needs a unit: ns, us, ms, s, m or h")),
        other => return Err(format!("`{other}` is not a unit of time: use ns, us, ms, s, m or h")),
    };
    let number = parse_number(number, text)?;
    Ok(Duration::from_nanos((number * nanos).round() as u64))
}

/// Reads a number of bytes; without a unit it means bytes.
pub(crate) fn parse_bytes(text: &str) -> Result<usize, String> {
    let (number, unit) = split(text);
    let factor: u64 = match unit {
        "" | "B" => 1,
        "KiB" | "K" | "k" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1 << 30,
        other => return Err(format!("`{other}` is not a unit of size: use B, KiB, MiB or GiB")),
    };
    let too_large = || format!("`{text}` is more than this system can count");
    // An integer keeps all of its digits; an `f64` has 53 bits for them.
    let bytes = match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(factor).ok_or_else(too_large)?,
        Err(_) => {
            let bytes = (parse_number(number, text)? * factor as f64).round();
            if bytes >= u64::MAX as f64 {
                return Err(too_large());
            }
            bytes as u64
        }
    };
    usize::try_from(bytes).map_err(|_| too_large())
}

/// A number that identifies something (a seed, a hash) as a JSON string, because JavaScript and jq round numbers
/// above 2^53.
pub(crate) fn as_text<S: Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(number)
}

/// Reads a count: `10000`, `10_000` or `10k`.
pub(crate) fn parse_count(text: &str) -> Result<u32, String> {
    let plain = text.replace(['_', ','], "");
    let (number, unit) = split(&plain);
    let factor = match unit {
        "" => 1.0,
        "k" | "K" => 1e3,
        "M" => 1e6,
        other => return Err(format!("`{other}` is not a count: use a number, or k or M after it")),
    };
    let count = parse_number(number, text)? * factor;
    if count.fract() != 0.0 || count > f64::from(u32::MAX) {
        return Err(format!("`{text}` is not a count"));
    }
    Ok(count as u32)
}

/// Reads a count within bounds.
pub(crate) fn parse_count_within<const LEAST: u32, const MOST: u32>(text: &str) -> Result<u32, String> {
    match parse_count(text)? {
        count if (LEAST..=MOST).contains(&count) => Ok(count),
        _ => Err(format!("from {} to {}", grouped(LEAST.into()), grouped(MOST.into()))),
    }
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

fn parse_number(number: &str, whole: &str) -> Result<f64, String> {
    number.parse().map_err(|_| format!("`{whole}` does not begin with a number"))
}

/// A number with its thousands set apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Nanoseconds as milliseconds, with a readable number of digits.
pub(crate) fn millis(nanos: u64) -> String {
    let ms = nanos as f64 / 1e6;
    match ms {
        _ if ms < 10.0 => format!("{ms:.2}"),
        _ if ms < 100.0 => format!("{ms:.1}"),
        _ => format!("{ms:.0}"),
    }
}

/// A number of bytes in the largest unit with a value of at least one.
pub(crate) fn bytes(count: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(factor, _)| count >= *factor) {
        Some((factor, unit)) => format!("{:.1} {unit}", count as f64 / *factor as f64),
        None => format!("{count} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read() {
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("1.5 ms"), Ok(Duration::from_micros(1500)));
        assert_eq!(parse_bytes("64KiB"), Ok(65_536));
        assert_eq!(parse_bytes("17"), Ok(17));
        assert_eq!(parse_bytes("9007199254740993"), Ok(9_007_199_254_740_993), "with all of its digits");
        assert_eq!(parse_bytes("1.5 KiB"), Ok(1536));
        assert_eq!(parse_count("10k"), Ok(10_000));
        assert_eq!(parse_count("1_000"), Ok(1_000));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        assert!(parse_duration("30").unwrap_err().contains("needs a unit"));
        assert!(parse_duration("3 weeks").unwrap_err().contains("weeks"));
        assert!(parse_bytes("KiB").unwrap_err().contains("number"));
        assert!(parse_bytes("99999999999GiB").unwrap_err().contains("can count"));
        assert!(parse_bytes("99999999999999999999").unwrap_err().contains("can count"));
        assert!(parse_count("1.5").is_err());
    }

    #[test]
    fn a_count_out_of_its_bounds_is_told_them() {
        assert_eq!(parse_count_within::<1, 10_000>("10k"), Ok(10_000));
        for count in ["0", "10001", "4294967295"] {
            assert_eq!(parse_count_within::<1, 10_000>(count), Err("from 1 to 10,000".to_owned()), "{count}");
        }
        assert_eq!(parse_count_within::<1, 10>("4294967296"), Err("`4294967296` is not a count".to_owned()));
    }

    #[test]
    fn what_people_read_is_written() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(millis(312_000), "0.31");
        assert_eq!(bytes(65_536), "64.0 KiB");
    }
}
