//! Dates as templates write them: the part of `strftime` that has no locale.

const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A moment as `format` says; `seconds` count from 1970, in the reader's own time zone.
///
/// None if the format has a directive that is not here.
pub(super) fn strftime(seconds: i64, format: &str) -> Option<String> {
    let [days, second] = [seconds.div_euclid(86_400), seconds.rem_euclid(86_400)];
    let [year, month, day] = civil(days);
    let [hour, minute, second] = [second / 3600, second / 60 % 60, second % 60];
    let weekday = DAYS[days.rem_euclid(7) as usize];
    let month_name = MONTHS[month as usize - 1];
    let mut text = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        text += &match chars.next()? {
            'A' => weekday.into(),
            'a' => weekday[..3].into(),
            'B' => month_name.into(),
            'b' => month_name[..3].into(),
            'd' => format!("{day:02}"),
            'e' => format!("{day:2}"),
            'F' => format!("{year}-{month:02}-{day:02}"),
            'H' => format!("{hour:02}"),
            'I' => format!("{:02}", (hour + 11) % 12 + 1),
            'j' => format!("{:03}", days - days_before(year) + 1),
            'M' => format!("{minute:02}"),
            'm' => format!("{month:02}"),
            'p' => if hour < 12 { "AM" } else { "PM" }.into(),
            'S' => format!("{second:02}"),
            'T' => format!("{hour:02}:{minute:02}:{second:02}"),
            'Y' => year.to_string(),
            'y' => format!("{:02}", year.rem_euclid(100)),
            '%' => "%".into(),
            _ => return None,
        };
    }
    Some(text)
}

/// Days from 1970 to the first of a year.
fn days_before(year: i64) -> i64 {
    let last = year - 1;
    365 * (year - 1970) + (last.div_euclid(4) - last.div_euclid(100) + last.div_euclid(400)) - 477
}

/// Year, month and day of a number of days from 1970.
fn civil(days: i64) -> [i64; 3] {
    let guess = 1970 + days.div_euclid(366);
    let year = (guess..).take_while(|&year| days_before(year) <= days).last().unwrap_or(guess);
    let is_leap = days_before(year + 1) - days_before(year) == 366;
    let lengths = [31, 28 + i64::from(is_leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut day = days - days_before(year);
    for (month, length) in (1..).zip(lengths) {
        if day < length {
            return [year, month, day + 1];
        }
        day -= length;
    }
    unreachable!("a year has no day {day} after December")
}

#[cfg(test)]
mod tests {
    use super::strftime;

    #[test]
    fn known_moments_are_written_as_python_does() {
        let cases = [
            (1_751_632_200, "%d %b %Y, %A %H:%M:%S %j %p", "04 Jul 2025, Friday 12:30:00 185 PM"),
            (0, "%F %T %a %I %y %e %B %%", "1970-01-01 00:00:00 Thu 12 70  1 January %"),
            (951_782_399, "%F %j", "2000-02-28 059"),
            (951_782_400, "%F %m", "2000-02-29 02"),
            (-1, "%F %T", "1969-12-31 23:59:59"),
            (4_107_542_400, "%F %j", "2100-03-01 060"),
        ];
        for (seconds, format, want) in cases {
            assert_eq!(strftime(seconds, format).as_deref(), Some(want));
        }
        assert_eq!(strftime(0, "%Q"), None);
        assert_eq!(strftime(0, "%"), None);
    }
}
