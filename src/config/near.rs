//! "Did you mean": the known word nearest to one that is not known.

/// The word of `known` that `word` is probably a slip of: at most a third of its letters differ.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    let far = |candidate: &str| if is_part(word, candidate) { 1 } else { distance(word, candidate) };
    let near = known.into_iter().map(|candidate| (far(candidate), candidate));
    near.filter(|&(far, _)| far <= limit).min_by_key(|&(far, _)| far).map(|(_, candidate)| candidate)
}

/// Whether one of the words is the other's beginning up to a hyphen, as `timeout` of `timeout-ms`.
fn is_part(word: &str, candidate: &str) -> bool {
    let begins = |long: &str, short: &str| long.strip_prefix(short).is_some_and(|rest| rest.starts_with('-'));
    begins(word, candidate) || begins(candidate, word)
}

/// Levenshtein's distance, upper and lower case alike.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().flat_map(char::to_lowercase).collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, here) in from.chars().flat_map(char::to_lowercase).enumerate() {
        let mut left = index + 1;
        let mut above_left = index;
        for (&there, cell) in to.iter().zip(row.iter_mut().skip(1)) {
            let above = *cell;
            *cell = (above_left + usize::from(here != there)).min(left + 1).min(above + 1);
            left = *cell;
            above_left = above;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (from, to, far) in
            [("", "", 0), ("a", "", 1), ("", "ab", 2), ("kitten", "sitting", 3), ("Name", "names", 1)]
        {
            assert_eq!(distance(from, to), far, "{from} {to}");
        }
    }

    #[test]
    fn only_a_slip_has_a_nearest_word() {
        assert_eq!(nearest("adresses", ["addresses", "name"]), Some("addresses"));
        assert_eq!(nearest("timeout", ["ttl", "timeout-ms"]), Some("timeout-ms"));
        assert_eq!(nearest("colour", ["addresses", "name"]), None);
    }
}
