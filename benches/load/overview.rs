//! All programs and rows in one table, a figure for each: whoever reads no further has read this.

use crate::report::{Cell, Memory, NOTHING, Served, figure};
use crate::rows::{Measured, Row};
use crate::statistics::{Trips, median};
use crate::table::Table;

/// A line for each program, a column for each row.
pub fn table(rows: &[(Row, Vec<Cell>)], memory: &[Memory]) -> Table {
    let mut head = vec!["program".to_owned()];
    head.extend(rows.iter().map(|(row, _)| match row {
        Row::Miss => format!("{}, q/s", row.name()),
        _ if row.is_throughput() => row.name().to_owned(),
        _ => format!("{}, p50", row.name()),
    }));
    head.push("memory, MB".to_owned());
    let line = |(index, memory): (usize, &Memory)| {
        let mut cells = vec![memory.program.to_owned()];
        cells.extend(
            rows.iter()
                .map(|(row, cells)| cells.get(index).map_or_else(|| NOTHING.to_owned(), |cell| figure_of(*row, cell))),
        );
        cells.push(figure(memory.at_start.map(|octets| octets as f64 / 1e6), 1));
        cells
    };
    Table {
        title:
            "overview: to the echo, medians of paired rounds; of p50 less is better. CPU: the generator was the limit"
                .to_owned(),
        head,
        lines: memory.iter().enumerate().map(line).collect(),
        notes: Vec::new(),
    }
}

fn figure_of(row: Row, cell: &Cell) -> String {
    match &cell.measured {
        Ok(Measured::Throughput(pairs)) => {
            let Served { rate, middle, .. } = Served::of(pairs);
            if row == Row::Miss { rate } else { middle }
        }
        Ok(Measured::Waiting(pairs)) => {
            let middle = |trips: &Trips| trips.percentile(50.0);
            let ratios = pairs.iter().map(|pair| middle(&pair.server) / middle(&pair.echo));
            figure(median(ratios), 3)
        }
        Err(_) => NOTHING.to_owned(),
    }
}
