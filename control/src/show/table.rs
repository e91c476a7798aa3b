//! Columns under headings, aligned by what is seen and not by the colour codes between.

use super::HEAD;
use super::page::{Page, WIDTH, wrap};
use anstyle::Style;

pub struct Table {
    columns: &'static [Column],
    indent: usize,
    rows: Vec<Vec<Cell>>,
}

pub enum Column {
    Left(&'static str),
    Right(&'static str),
}

pub struct Cell {
    text: String,
    style: Style,
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        let style = Style::new();
        Cell { text, style }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::from(text.to_owned())
    }
}

/// A cell in a colour.
pub fn painted(style: Style, text: impl ToString) -> Cell {
    let text = text.to_string();
    Cell { text, style }
}

/// The narrowest that a last column is broken to.
const LAST_COLUMN_MIN: usize = 16;

const BETWEEN: usize = 2;

impl Table {
    pub fn new(indent: usize, columns: &'static [Column]) -> Table {
        Table { columns, indent, rows: Vec::new() }
    }

    /// One cell for each column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let row: Vec<Cell> = cells.into_iter().collect();
        debug_assert_eq!(row.len(), self.columns.len());
        self.rows.push(row);
    }

    /// Long text in the last column is broken into lines of that column.
    pub fn draw(&self, page: &mut Page) {
        let widths = self.widths();
        let heads = self.columns.iter().map(|column| match column {
            Column::Left(head) | Column::Right(head) => painted(HEAD, head),
        });
        let heads: Vec<Cell> = heads.collect();
        for row in [&heads].into_iter().chain(&self.rows) {
            self.draw_row(row, &widths, page);
        }
    }

    fn widths(&self) -> Vec<usize> {
        let width = |(ix, column): (usize, &Column)| {
            let (Column::Left(head) | Column::Right(head)) = column;
            let cells = self.rows.iter().map(|row| row[ix].text.chars().count());
            cells.chain([head.len()]).max().unwrap_or_default()
        };
        self.columns.iter().enumerate().map(width).collect()
    }

    fn draw_row(&self, row: &[Cell], widths: &[usize], page: &mut Page) {
        let last = row.len() - 1;
        let between = widths[..last].iter().map(|width| width + BETWEEN);
        let before = self.indent + between.sum::<usize>();
        let room = WIDTH.saturating_sub(before).max(LAST_COLUMN_MIN);
        let lines = wrap(&row[last].text, room);
        let mut text = " ".repeat(self.indent);
        for (ix, cell) in row.iter().enumerate() {
            let shown = if ix == last { &lines[0] } else { &cell.text };
            let gap = if ix == last { 0 } else { BETWEEN };
            let pad = widths[ix].saturating_sub(shown.chars().count());
            let shown = painted_text(cell.style, shown);
            text += &match self.columns[ix] {
                Column::Right(_) => format!("{:pad$}{shown}{:gap$}", "", ""),
                Column::Left(_) => format!("{shown}{:1$}", "", pad + gap),
            };
        }
        page.line(text.trim_end());
        for line in &lines[1..] {
            let line = painted_text(row[last].style, line);
            page.line(format_args!("{:before$}{line}", ""));
        }
    }
}

/// Without codes round nothing, so that an empty last cell leaves no white space at the end.
fn painted_text(style: Style, text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    format!("{style}{text}{style:#}")
}
