//! Messages that the network refuses because this computer's clock is wrong.

use std::time::{SystemTime, UNIX_EPOCH};

/// What comes before the network's own time in its refusal (dfinity/ic, rs/validator): a message must not
/// expire before now.
const NOW: &str = "Minimum allowed expiry: ";

/// Returns this computer's time (seconds since 1970).
pub(crate) fn now() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    elapsed.map_or(0, |elapsed| elapsed.as_secs() as i64)
}

/// Returns how far this computer's clock, which says `now` (seconds since 1970), is off; `None` if the
/// text is no refusal for that reason.
pub(crate) fn explain(refusal: &str, now: i64) -> Option<String> {
    if !refusal.contains("expiry") {
        return None;
    }
    let network = refusal
        .split_once(NOW)
        .and_then(|(_, rest)| seconds(rest.split(',').next()?.trim()));
    let Some(network) = network else {
        return Some(format!(
            "the network refused the message because of its time: is this computer's clock right? \
             ({refusal})"
        ));
    };
    let (off, direction) = match now - network {
        off if off < 0 => (-off, "behind"),
        off => (off, "ahead of"),
    };
    Some(format!(
        "this computer's clock is {} {direction} the network's time: set it right and try again",
        duration(off)
    ))
}

fn duration(seconds: i64) -> String {
    match seconds {
        0..120 => format!("{seconds} seconds"),
        120..7_200 => format!("{} minutes", seconds / 60),
        7_200..172_800 => format!("{} hours", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Reads a time: nanoseconds since 1970, or a date as in `2026-05-06 19:17:10.5 UTC`.
fn seconds(text: &str) -> Option<i64> {
    if let Ok(nanoseconds) = text.parse::<i64>() {
        return Some(nanoseconds / 1_000_000_000);
    }
    let digits: Vec<i64> = text
        .split(|c: char| !c.is_ascii_digit())
        .take(6)
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    let [year, month, day, hour, minute, second] = digits[..] else {
        return None;
    };
    Some(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

/// Returns the days from 1970 to a date (Howard Hinnant, "chrono-compatible low-level date algorithms",
/// days_from_civil).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_compared_with_the_network() {
        let dated = "Invalid request expiry: Specified ingress_expiry not within expected range: Minimum \
                     allowed expiry: 2026-05-06 19:17:10.123 UTC, Maximum allowed expiry: 2026-05-06 \
                     19:22:40 UTC, Provided expiry: 2026-05-06 20:30:00 UTC";
        // date -u -d '2026-05-06 19:17:10' +%s
        let network = 1_778_095_030;
        let said = |off| explain(dated, network + off).unwrap();
        assert!(
            said(4_380).contains("73 minutes ahead of"),
            "{}",
            said(4_380)
        );
        assert!(said(-40).contains("40 seconds behind"), "{}", said(-40));
        assert!(said(-400 * 86_400).contains("400 days behind"));

        let numbers = "Minimum allowed expiry: 1778095030123456789, Maximum allowed expiry: 2";
        let said = explain(numbers, network + 7_200).unwrap();
        assert!(said.contains("2 hours ahead of"), "{said}");
    }

    #[test]
    fn other_refusals_are_not_about_the_clock() {
        assert_eq!(explain("Invalid signature", 0), None);
        let unknown = explain("Invalid request expiry: too late", 0).unwrap();
        assert!(unknown.contains("clock") && unknown.contains("too late"));
    }

    #[test]
    fn dates_are_days() {
        assert_eq!(days(1970, 1, 1), 0);
        assert_eq!(days(2000, 3, 1), 11_017);
        assert_eq!(days(1969, 12, 31), -1);
    }
}
