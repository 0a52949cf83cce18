//! What was measured, beside what phzd must reach.

/// A number of a row.
#[derive(Clone, Debug)]
pub struct Measure {
    /// What it is, with its unit.
    pub what: &'static str,
    /// What was found; not a number where there is nothing to tell.
    pub value: f64,
    /// What phzd must reach.
    pub must: Must,
}

/// A promise.
#[derive(Clone, Copy, Debug)]
pub enum Must {
    AtMost(f64),
    AtLeast(f64),
    /// It is told, not promised.
    Nothing,
}

impl Measure {
    pub fn new(what: &'static str, value: f64, must: Must) -> Measure {
        Measure { what, value, must }
    }

    /// Whether it is a time, which a busy machine lengthens.
    fn is_time(&self) -> bool {
        self.what.starts_with("ms, ")
    }

    /// Whether the promise is kept.
    fn is_kept(&self) -> bool {
        match self.must {
            Must::AtMost(limit) => self.value <= limit,
            Must::AtLeast(limit) => self.value >= limit,
            Must::Nothing => true,
        }
    }
}

/// What one program gave for a row: numbers, or why there are none.
pub type Cell = Result<Vec<Measure>, String>;

/// Whether a cell misses promises of time alone, in a time when a bare echo too was slower than `quiet`.
pub fn is_the_machines(cell: &Cell, echo: &str, quiet: f64) -> bool {
    cell.as_ref().is_ok_and(|measures| {
        let busy = measures.iter().any(|measure| measure.what == echo && measure.value > quiet);
        let mut missed = measures.iter().filter(|measure| !measure.is_kept()).peekable();
        busy && missed.peek().is_some() && missed.all(Measure::is_time)
    })
}

/// A row with the cells of all programs.
pub struct Line {
    pub number: &'static str,
    pub fault: &'static str,
    /// Name and cell of each program, in the order of the columns.
    pub cells: Vec<(&'static str, Cell)>,
}

impl Line {
    /// Whether `program` keeps all promises of this row.
    pub fn is_kept_by(&self, program: &str) -> bool {
        let cell = self.cells.iter().find(|(name, _)| *name == program);
        cell.is_none_or(|(_, cell)| cell.as_ref().is_ok_and(|measures| measures.iter().all(Measure::is_kept)))
    }

    /// The row as text. Only phzd is judged: the others never promised this.
    pub fn text(&self) -> String {
        let judged = |name| match name == "phzd" {
            true if self.is_kept_by(name) => "PASS",
            true => "FAIL",
            false => "",
        };
        let verdicts = self.cells.iter().map(|(name, _)| format!("{:>10}", judged(name))).collect::<String>();
        let mut text = format!("{:<3} {:<46}{verdicts}\n", self.number, self.fault);
        let known = self.cells.iter().find_map(|(_, cell)| cell.as_ref().ok());
        for (index, measure) in known.into_iter().flatten().enumerate() {
            let must = match measure.must {
                Must::AtMost(limit) => format!("<= {}", number(limit)),
                Must::AtLeast(limit) => format!(">= {}", number(limit)),
                Must::Nothing => String::new(),
            };
            text += &format!("      {:<32}{must:>12}", measure.what);
            for (name, cell) in &self.cells {
                let measure = cell.as_ref().ok().and_then(|measures| measures.get(index));
                let missed = measure.is_some_and(|measure| *name == "phzd" && !measure.is_kept());
                let value = measure.map_or("-".to_owned(), |measure| number(measure.value));
                text += &format!("{:>10}", format!("{}{value}", if missed { "! " } else { "" }));
            }
            text.push('\n');
        }
        for (name, cell) in &self.cells {
            if let Err(why) = cell {
                text += &format!("      {name}: {why}\n");
            }
        }
        text
    }
}

/// The line above all rows.
pub fn head(programs: &[&str]) -> String {
    let names = programs.iter().map(|name| format!("{name:>10}")).collect::<String>();
    format!("{:<38}{:>12}{names}", "fault", "phzd must")
}

/// With three digits that tell.
fn number(value: f64) -> String {
    match value {
        value if value.is_nan() => "-".to_owned(),
        value if value.is_infinite() => "lost".to_owned(),
        value if value == value.trunc() || value >= 1000.0 => format!("{value:.0}"),
        value if value >= 100.0 => format!("{value:.1}"),
        value if value >= 0.1 => format!("{value:.2}"),
        value => format!("{value:.4}"),
    }
}
