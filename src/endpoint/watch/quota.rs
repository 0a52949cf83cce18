//! How much is said in the log of one thing: an endpoint that comes and goes every second must not fill a disk.

use std::time::{Duration, Instant};

/// Lines within [`WINDOW`].
const LINES: u32 = 10;
/// From the first line on.
const WINDOW: Duration = Duration::from_secs(600);

/// What has been said of one thing lately.
#[derive(Debug, Clone, Default)]
pub(super) struct Quota {
    began: Option<Instant>,
    said: u32,
    unsaid: u64,
}

impl Quota {
    /// `line` as it is to be said now, with a remark where lines are left out; `None` if it is one of these.
    pub fn admit(&mut self, line: String, now: Instant) -> Option<String> {
        let mut unsaid = 0;
        if self.began.is_none_or(|began| now.saturating_duration_since(began) >= WINDOW) {
            unsaid = self.unsaid;
            *self = Self { began: Some(now), said: 0, unsaid: 0 };
        }
        if self.said >= LINES {
            self.unsaid += 1;
            return None;
        }
        self.said += 1;
        Some(match (self.said, unsaid) {
            (LINES, _) => format!("{line} (what else happens to it is counted, and not logged for up to ten minutes)"),
            (_, 0) => line,
            (_, unsaid) => format!("{line} (before this, {unsaid} lines were left out)"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_few_and_it_is_said_that_some_are_left_out() {
        let began = Instant::now();
        let mut quota = Quota::default();
        let mut lines: Vec<_> = Vec::new();
        for second in 0..1800 {
            lines.extend(quota.admit(second.to_string(), began + Duration::from_secs(second)));
        }
        assert_eq!(lines.len(), 30, "ten in each ten minutes: {lines:?}");
        assert_eq!(lines[8], "8");
        assert!(lines[9].starts_with("9 (what else happens"), "{lines:?}");
        assert_eq!(lines[10], "600 (before this, 590 lines were left out)");
        assert_eq!(lines[11], "601");
    }

    #[test]
    fn a_line_now_and_then_is_said_as_it_is() {
        let (mut now, mut quota) = (Instant::now(), Quota::default());
        for _ in 0..50 {
            assert_eq!(quota.admit("line".into(), now).as_deref(), Some("line"));
            now += Duration::from_secs(300);
        }
    }
}
