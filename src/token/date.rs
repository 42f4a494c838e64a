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

/// A moment as `format` says, with glibc's flags; `seconds` count from 1970, in the reader's own time zone, which has no name.
///
/// None if the format has a directive that is not here.
pub(super) fn strftime(seconds: i64, format: &str) -> Option<String> {
    let moment = Moment::new(seconds);
    let mut text = String::new();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        text += before;
        let flag = after.chars().next().filter(|c| "-_0^#".contains(*c));
        let after = &after[flag.map_or(0, char::len_utf8)..];
        let directive = after.chars().next()?;
        rest = &after[directive.len_utf8()..];
        text += &flagged(flag, moment.written(directive)?);
    }
    Some(text + rest)
}

/// `-` leaves zeros and spaces in front out, `_` and `0` replace them, `^` and `#` write capitals.
fn flagged(flag: Option<char>, text: String) -> String {
    let digits = text.trim_start_matches(['0', ' ']);
    let is_number = text.bytes().all(|b| b.is_ascii_digit() || b == b' ');
    let digits = if digits.is_empty() { "0" } else { digits };
    match flag {
        Some('-') if is_number => digits.to_owned(),
        Some('_') if is_number => format!("{digits:>width$}", width = text.len()),
        Some('0') if is_number => format!("{digits:0>width$}", width = text.len()),
        Some('^' | '#') => text.to_uppercase(),
        _ => text,
    }
}

/// A moment in parts.
struct Moment {
    seconds: i64,
    days: i64,
    date: [i64; 3],
    time: [i64; 3],
    /// From Sunday, 0.
    weekday: i64,
    /// From 0.
    yearday: i64,
}

impl Moment {
    fn new(seconds: i64) -> Moment {
        let [days, second] = [seconds.div_euclid(86_400), seconds.rem_euclid(86_400)];
        let date = civil(days);
        let yearday = days - days_before(date[0]);
        let time = [second / 3600, second / 60 % 60, second % 60];
        Moment { seconds, days, date, time, weekday: (days + 4).rem_euclid(7), yearday }
    }

    fn written(&self, directive: char) -> Option<String> {
        let Moment { date: [year, month, day], time: [hour, minute, second], .. } = *self;
        let weekday = DAYS[self.days.rem_euclid(7) as usize];
        let month_name = MONTHS[month as usize - 1];
        let half = (hour + 11) % 12 + 1;
        let of = |format: &str| strftime(self.seconds, format);
        Some(match directive {
            'A' => weekday.into(),
            'a' => weekday[..3].into(),
            'B' => month_name.into(),
            'b' | 'h' => month_name[..3].into(),
            'C' => format!("{:02}", year.div_euclid(100)),
            'c' => return of("%a %b %e %T %Y"),
            'D' | 'x' => return of("%m/%d/%y"),
            'd' => format!("{day:02}"),
            'e' => format!("{day:2}"),
            'F' => format!("{year}-{month:02}-{day:02}"),
            'f' => "000000".into(),
            'G' => self.iso_week().0.to_string(),
            'g' => format!("{:02}", self.iso_week().0.rem_euclid(100)),
            'H' => format!("{hour:02}"),
            'I' => format!("{half:02}"),
            'j' => format!("{:03}", self.yearday + 1),
            'k' => format!("{hour:2}"),
            'l' => format!("{half:2}"),
            'M' => format!("{minute:02}"),
            'm' => format!("{month:02}"),
            'n' => "\n".into(),
            'P' => if hour < 12 { "am" } else { "pm" }.into(),
            'p' => if hour < 12 { "AM" } else { "PM" }.into(),
            'R' => return of("%H:%M"),
            'r' => return of("%I:%M:%S %p"),
            'S' => format!("{second:02}"),
            's' => self.seconds.to_string(),
            'T' | 'X' => format!("{hour:02}:{minute:02}:{second:02}"),
            't' => "\t".into(),
            'U' => format!("{:02}", (self.yearday + 7 - self.weekday) / 7),
            'u' => (if self.weekday == 0 { 7 } else { self.weekday }).to_string(),
            'V' => format!("{:02}", self.iso_week().1),
            'W' => format!("{:02}", (self.yearday + 7 - (self.weekday + 6) % 7) / 7),
            'w' => self.weekday.to_string(),
            'Y' => year.to_string(),
            'y' => format!("{:02}", year.rem_euclid(100)),
            'Z' | 'z' => String::new(),
            '%' => "%".into(),
            _ => return None,
        })
    }

    /// Year and number of the week after ISO 8601: that of its Thursday.
    fn iso_week(&self) -> (i64, i64) {
        let thursday = self.days + 3 - (self.weekday + 6) % 7;
        let year = civil(thursday)[0];
        (year, (thursday - days_before(year)) / 7 + 1)
    }
}

/// The seconds from 1970 of `2025-07-04T12:30:00`, or of a part of it from the front, a day at least.
pub(super) fn moment(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "0"));
    let numbers = |text: &str, mark: char| -> Option<Vec<i64>> {
        text.split(mark).map(|part| part.parse::<u16>().ok().map(i64::from)).collect()
    };
    let [year, month, day] = numbers(date, '-')?[..] else { return None };
    let mut time = numbers(time, ':')?;
    time.resize(3.max(time.len()), 0);
    let [hour, minute, second] = time[..] else { return None };
    let day_of = |at: i64| civil(days_before(year) + at) == [year, month, day];
    let at = (0..366).find(|at| day_of(*at))?;
    let is_time = hour < 24 && minute < 60 && second < 60;
    is_time.then(|| (days_before(year) + at) * 86_400 + hour * 3600 + minute * 60 + second)
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
    use super::{moment, strftime};

    #[test]
    fn a_moment_reads_as_it_is_written() {
        assert_eq!(moment("2025-07-04T12:30:05"), Some(1_751_632_205));
        assert_eq!(moment("2025-07-04 12:30"), Some(1_751_632_200));
        assert_eq!(moment("2024-02-29"), Some(1_709_164_800));
        for wrong in ["2025-02-29", "2025-13-01", "2025-07-04T24:00", "2025-07-04T12:30:05Z", "now", ""] {
            assert_eq!(moment(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn known_moments_are_written_as_python_does() {
        let cases = [
            (1_751_632_200, "%d %b %Y, %A %H:%M:%S %j %p", "04 Jul 2025, Friday 12:30:00 185 PM"),
            (0, "%F %T %a %I %y %e %B %%", "1970-01-01 00:00:00 Thu 12 70  1 January %"),
            (951_782_399, "%F %j", "2000-02-28 059"),
            (951_782_400, "%F %m", "2000-02-29 02"),
            (-1, "%F %T", "1969-12-31 23:59:59"),
            (4_107_542_400, "%F %j", "2100-03-01 060"),
            (
                1_751_632_205,
                "%-d %-m %_d %0e %^b %D %R %U %W %V %G %c",
                "4 7  4 04 JUL 07/04/25 12:30 26 26 27 2025 Fri Jul  4 12:30:05 2025",
            ),
            (1_735_603_200, "%G-W%V-%u %r %P", "2025-W01-2 12:00:00 AM am"),
        ];
        for (seconds, format, want) in cases {
            assert_eq!(strftime(seconds, format).as_deref(), Some(want));
        }
        assert_eq!(strftime(0, "%Q"), None);
        assert_eq!(strftime(0, "%"), None);
    }
}
