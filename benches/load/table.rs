//! Tables as text: lined up for a terminal, or in Markdown.

/// A table with a title above and notes below.
pub struct Table {
    pub title: String,
    pub head: Vec<String>,
    pub lines: Vec<Vec<String>>,
    pub notes: Vec<String>,
}

impl Table {
    /// For a terminal: the first column to the left, the others to the right.
    pub fn text(&self) -> String {
        let widths: Vec<usize> = (0..self.head.len())
            .map(|column| self.rows().filter_map(|row| row.get(column)).map(|cell| width(cell)).max().unwrap_or(0))
            .collect();
        let mut text = format!("{}\n\n", self.title);
        for row in self.rows() {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                line += &if column == 0 { format!("{cell:<width$}") } else { format!("  {cell:>width$}") };
            }
            text += &format!("  {}\n", line.trim_end());
        }
        for note in &self.notes {
            text += &format!("  ({note})\n");
        }
        text
    }

    /// In Markdown.
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut text = format!("### {}\n\n{}", self.title, line(&self.head));
        text += &format!("| ---{} |\n", " | ---:".repeat(self.head.len().saturating_sub(1)));
        self.lines.iter().for_each(|cells| text += &line(cells));
        if !self.notes.is_empty() {
            text += &format!("\n{}.\n", self.notes.join("; "));
        }
        text
    }

    fn rows(&self) -> impl Iterator<Item = &Vec<String>> {
        std::iter::once(&self.head).chain(&self.lines)
    }
}

/// Columns on a terminal; every character here takes one.
fn width(cell: &str) -> usize {
    cell.chars().count()
}
