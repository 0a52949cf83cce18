//! A configuration read and judged without the disk, and what holds of all that is said of it.

use std::net::Ipv4Addr;
use std::path::Path;

use phzd::config::file::NamedFile;
use phzd::config::{Config, File, Machine, Problem};

/// Reads and judges `text`; the files that it names hold `named`. Every problem stands in one of the texts and can be
/// shown.
pub fn judged(text: &str, named: impl Fn(&Path) -> Vec<u8>) -> Result<Config, Vec<Problem>> {
    let open = |path: &Path| NamedFile::of(&path.display().to_string(), named(path));
    let file = File::parse_with("phzd.toml", text, &open);
    let machine = Machine { cores: 2, addresses: vec![Ipv4Addr::new(172, 31, 1, 5).into()] };
    let (config, problems) = match file.check(&machine) {
        Ok((config, warnings)) => (Ok(config), warnings),
        Err(problems) => {
            assert!(problems.count().0 > 0, "refused without a mistake");
            (Err(problems.0.clone()), problems.0)
        }
    };
    for problem in &problems {
        let place = problem.place().unwrap_or_else(|| panic!("{problem} stands nowhere"));
        let source = place.source();
        assert!(place.offset() <= source.text().len(), "{problem}");
        if let Some((line, column)) = place.line_and_column() {
            let shown = source.text().split('\n').nth(line - 1);
            let width = shown.unwrap_or_else(|| panic!("{problem}")).chars().count();
            assert!((1..=width + 1).contains(&column), "{problem}");
        }
        let told = problem.to_string();
        assert!(told.starts_with(source.name()) && !problem.message().is_empty(), "{told}");
        let harmless = |letter: char| letter == '\n' || !letter.is_control();
        assert!(told.chars().all(harmless), "a terminal would act upon {told:?}");
    }
    config
}
