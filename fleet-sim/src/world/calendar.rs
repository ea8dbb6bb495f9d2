//! Dates: civil dates to and from day numbers.
//!
//! Owns the proleptic Gregorian calendar, no more. Refuses to know time zones (prices are in
//! Eastern Standard Time all year, as the IESO publishes them) and the present.

/// Days in the months of a year that is not a leap year.
const MONTH_DAYS: [u32; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// A date that exists, as days since 1 January of year 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Day(u32);

impl Day {
    /// 1 January of a year from 1 on.
    pub(super) fn first_of_year(year: u32) -> Self {
        Self(days_before_year(year))
    }

    /// Reads `YYYY-MM-DD`, years 1 to 9999.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
        let lengths_fit = (year.len(), month.len(), day.len()) == (4, 2, 2);
        let digits_only = text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        if parts.next().is_some() || !lengths_fit || !digits_only {
            return None;
        }
        let (year, month, day) = (year.parse().ok()?, month.parse().ok()?, day.parse().ok()?);
        if year == 0 || !(1..=12).contains(&month) || !(1..=month_days(year, month)).contains(&day)
        {
            return None;
        }
        let earlier_months: u32 = (1..month).map(|m| month_days(year, m)).sum();
        Some(Self(days_before_year(year) + earlier_months + day - 1))
    }

    /// The day `days` later.
    pub(super) fn plus(self, days: u32) -> Self {
        Self(self.0 + days)
    }

    /// Days from `earlier` to this day; `None` if this day is the earlier one.
    pub(super) fn since(self, earlier: Self) -> Option<u32> {
        self.0.checked_sub(earlier.0)
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No year is longer than 366 days, so the division never overshoots.
        let mut year = self.0 / 366 + 1;
        while days_before_year(year + 1) <= self.0 {
            year += 1;
        }
        let mut rest = self.0 - days_before_year(year);
        let mut month = 1;
        while rest >= month_days(year, month) {
            rest -= month_days(year, month);
            month += 1;
        }
        write!(f, "{year:04}-{month:02}-{:02}", rest + 1)
    }
}

fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn month_days(year: u32, month: u32) -> u32 {
    let leap_day = u32::from(month == 2 && is_leap(year));
    MONTH_DAYS[month as usize - 1] + leap_day
}

fn days_before_year(year: u32) -> u32 {
    let past = year - 1;
    past * 365 + past / 4 - past / 100 + past / 400
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_four_centuries_reads_back() {
        let first = Day::parse("1801-01-01").unwrap();
        for days in 0..146_097 {
            let day = first.plus(days);
            assert_eq!(Day::parse(&day.to_string()), Some(day));
        }
        assert_eq!(first.plus(146_097).to_string(), "2201-01-01");
    }

    #[test]
    fn only_days_that_exist_are_dates() {
        for text in ["2015-02-29", "2016-13-01", "2016-00-01", "2016-1-1", "2016-01-18x", ""] {
            assert_eq!(Day::parse(text), None, "{text}");
        }
        assert!(Day::parse("2016-02-29").is_some());
    }

    #[test]
    fn days_between_dates() {
        let first = Day::parse("2016-01-01").unwrap();
        let last = Day::parse("2016-12-31").unwrap();
        assert_eq!(last.since(first), Some(365));
        assert_eq!(first.since(last), None);
    }
}
