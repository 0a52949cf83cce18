//! All programs and rows in one table, a figure for each: whoever reads no further has read this.

use crate::report::{Cell, Memory, NOTHING, Served, figure};
use crate::rows::{Measured, Row};
use crate::statistics::{Pair, Trips, median};
use crate::table::Table;

/// A line for each program, columns for each row. Ratios of fewer than `rounds` rounds say of how many they are.
pub fn table(rows: &[(Row, Vec<Cell>)], memory: &[Memory], rounds: usize) -> Table {
    let mut head = vec!["program".to_owned()];
    for (row, _) in rows {
        head.extend(columns(*row));
    }
    head.push("MB".to_owned());
    let line = |(index, memory): (usize, &Memory)| {
        let mut cells = vec![memory.program.to_owned()];
        for (row, of_row) in rows {
            let nothing = || columns(*row).iter().map(|_| NOTHING.to_owned()).collect();
            cells.extend(of_row.get(index).and_then(|cell| figures(*row, cell, rounds)).unwrap_or_else(nothing));
        }
        cells.push(figure(memory.at_start.map(|octets| octets as f64 / 1e6), 0));
        cells
    };
    let mut notes = vec![
        "of q/s: the program's to the echo's, more is better".to_owned(),
        "of p50, p99 and p99.9: how long a query took, to the echo's, less is better".to_owned(),
        "CPU µs: for a private answer".to_owned(),
        "C: to the echo's CPU time, where the generator was the limit or others had the core".to_owned(),
        "a number in brackets: rounds that counted, where they were fewer than they should be".to_owned(),
    ];
    for cell in rows.iter().flat_map(|(_, cells)| cells) {
        let remark = cell.remark.map(|remark| format!("{}: {remark}", cell.program));
        notes.extend(remark.filter(|remark| !notes.contains(remark)));
    }
    Table {
        title: "overview: medians of paired rounds beside the echo, a line for each program".to_owned(),
        head,
        lines: memory.iter().enumerate().map(line).collect(),
        notes,
    }
}

/// The heads of a row's columns.
fn columns(row: Row) -> Vec<String> {
    match row {
        Row::Private => vec!["private".to_owned(), "CPU µs".to_owned()],
        Row::Miss => vec!["miss q/s".to_owned()],
        _ if row.is_throughput() => vec![row.name().to_owned()],
        _ => row.percentiles().iter().map(|percent| format!("{} p{percent}", row.name())).collect(),
    }
}

/// What stands in them; `None` where the program has no place in the row.
fn figures(row: Row, cell: &Cell, rounds: usize) -> Option<Vec<String>> {
    let figures = match cell.measured.as_ref().ok()? {
        Measured::Throughput(pairs) => {
            let Served { rate, middle, cost, counted, .. } = Served::of(pairs);
            let few = if counted > 0 && counted < rounds { format!(" ({counted})") } else { String::new() };
            let figure = if row == Row::Miss { rate } else { middle } + &few;
            if row == Row::Private { vec![figure, cost] } else { vec![figure] }
        }
        Measured::Waiting(pairs) => {
            row.percentiles().iter().map(|&percent| figure(median(ratios(pairs, percent)), 2)).collect()
        }
    };
    Some(figures)
}

/// Of each pair, the program's percentile to the echo's.
fn ratios(pairs: &[Pair<Trips>], percent: f64) -> impl Iterator<Item = f64> + '_ {
    pairs.iter().map(move |pair| pair.server.percentile(percent) / pair.echo.percentile(percent))
}
