//! The installed configuration, read as a text for people: what it says of each table and key.
//!
//! Its form is fixed. A meaning is the comment above a table or a key, where that comes first; `#key = …` shows the
//! default unless the line ends with `# example`; a line without `#` belongs to the small working example.

/// The file that a package installs.
const INSTALLED: &str = include_str!("../../../config/phzd.toml");

/// What ends the line of a key whose value is not the default.
const EXAMPLE: &str = "# example";

/// A table or a key, where the file shows it.
#[derive(Debug)]
pub struct Shown {
    /// The table in its brackets, as `[[bucket]]`.
    pub table: &'static str,
    /// The key; `None` for the table itself.
    pub key: Option<&'static str>,
    /// The comment above it, as one line; empty if there is none.
    pub meaning: String,
    /// What stands behind the `=`.
    pub value: &'static str,
    /// Whether that is the default.
    pub is_default: bool,
    /// Whether it belongs to the working example.
    pub is_live: bool,
}

/// All that the file shows, in its order.
pub fn shown() -> Vec<Shown> {
    let mut all = Vec::new();
    let mut table = "";
    let mut comment: Vec<&str> = Vec::new();
    for line in INSTALLED.lines() {
        let text = line.strip_prefix('#').unwrap_or(line);
        let is_live = text.len() == line.len();
        if text.is_empty() || (!is_live && text.starts_with(' ')) {
            match text.strip_prefix(' ') {
                Some(words) => comment.push(words),
                None => comment.clear(),
            }
            continue;
        }
        let meaning = std::mem::take(&mut comment).join(" ");
        if text.starts_with('[') {
            table = text.split('#').next().unwrap_or_default().trim();
            all.push(Shown { table, key: None, meaning, value: "", is_default: false, is_live });
        } else if let Some((key, value)) = text.split_once('=') {
            let plain = value.strip_suffix(EXAMPLE);
            let is_default = !is_live && plain.is_none();
            let value = plain.unwrap_or(value).trim();
            all.push(Shown { table, key: Some(key.trim()), meaning, value, is_default, is_live });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use phzd::config::KEYS;
    use phzd::config::limit::LIMITS;

    #[test]
    fn every_table_and_key_has_a_meaning_that_ends_like_a_sentence() {
        let all = shown();
        let means = |table: &str, key: Option<&str>| {
            let mut places = all.iter().filter(|shown| shown.table == table && shown.key == key);
            places.any(|shown| shown.meaning.ends_with('.'))
        };
        for (table, keys) in KEYS {
            assert!(means(table, None), "{table}: no sentence above it");
            for key in *keys {
                assert!(means(table, Some(key)), "{table} {key}: no sentence above it");
            }
        }
    }

    #[test]
    fn the_default_of_a_number_is_that_of_its_limit() {
        let mut count = 0;
        for shown in shown().iter().filter(|shown| shown.is_default) {
            let key = format!("{}.{}", shown.table.trim_matches(['[', ']']), shown.key.unwrap());
            if let Some(limit) = LIMITS.iter().find(|limit| limit.key == key) {
                assert_eq!(shown.value, limit.default.to_string(), "{key}");
                count += 1;
            }
        }
        // All but the TTL of a record, which is no key of a table's.
        assert_eq!(count, LIMITS.len() - 1);
    }
}
