//! Numbers on the command line, with the range that is allowed.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Returns a parser of whole numbers in a range.
pub(crate) fn whole<T>(
    range: RangeInclusive<T>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    number("whole number", range)
}

/// Returns a parser of numbers in a range.
pub(crate) fn decimal(
    range: RangeInclusive<f32>,
) -> impl Fn(&str) -> Result<f32, String> + Clone + Send + Sync + 'static {
    number("number", range)
}

fn number<T>(
    what: &'static str,
    range: RangeInclusive<T>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        let (least, most) = (range.start(), range.end());
        number.ok_or_else(|| format!("expected a {what} from {least} to {most}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_is_told_the_range() {
        let percent = whole(0..=100u32);
        assert_eq!(percent("100"), Ok(100));
        for bad in ["-1", "101", "x", "", "1.5", "99999999999999"] {
            let said = percent(bad).unwrap_err();
            assert_eq!(said, "expected a whole number from 0 to 100", "{bad}");
        }
        let share = decimal(0.0..=1.0);
        assert_eq!(share("0.5"), Ok(0.5));
        for bad in ["-1", "1.1", "NaN", "inf", "half"] {
            assert_eq!(
                share(bad).unwrap_err(),
                "expected a number from 0 to 1",
                "{bad}"
            );
        }
    }
}
