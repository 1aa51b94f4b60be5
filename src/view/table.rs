//! Lines of aligned cells that shed their least important columns where the terminal is narrow.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::format::{fit, width};

/// Columns between two cells.
const GAP: usize = 2;

/// One column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    /// Its heading.
    pub(crate) title: &'static str,
    /// Narrowest useful width.
    pub(crate) min: usize,
    /// Widest useful width.
    pub(crate) max: usize,
    /// Order of leaving: the highest goes first, 0 stays for ever.
    pub(crate) rank: u8,
    /// Whether it is set flush right, as numbers are.
    pub(crate) right: bool,
}

/// Returns a text column that grows.
pub(crate) const fn text(title: &'static str, min: usize, max: usize, rank: u8) -> Column {
    Column { title, min, max, rank, right: false }
}

/// Returns a number column.
pub(crate) const fn number(title: &'static str, width: usize, rank: u8) -> Column {
    Column { title, min: width, max: width, rank, right: true }
}

/// One cell: spans that fit their column.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell(Vec<Span<'static>>);

impl Cell {
    /// Returns a cell of several pieces, which the caller has made to fit.
    pub(crate) fn pieces(pieces: Vec<Span<'static>>) -> Self {
        Self(pieces)
    }
}

/// Returns a cell of one text; the text may be foreign.
pub(crate) fn cell(text: impl Into<String>, style: Style) -> Cell {
    Cell(vec![Span::styled(text.into(), style)])
}

/// Columns with the widths they got.
pub(crate) struct Table {
    columns: Vec<Column>,
    widths: Vec<Option<usize>>,
    total: usize,
}

impl Table {
    /// Fits columns into a number of terminal columns.
    pub(crate) fn new(columns: &[Column], total: usize) -> Self {
        let mut widths: Vec<Option<usize>> = columns.iter().map(|column| Some(column.min)).collect();
        while used(&widths) > total {
            let last = (0..columns.len()).filter(|&at| widths[at].is_some() && columns[at].rank > 0).max_by_key(|&at| columns[at].rank);
            let Some(last) = last else { break };
            widths[last] = None;
        }
        let mut spare = total.saturating_sub(used(&widths));
        while spare > 0 {
            let mut grown = false;
            for (width, column) in widths.iter_mut().zip(columns) {
                if let Some(width) = width.as_mut().filter(|width| **width < column.max && spare > 0) {
                    *width += 1;
                    spare -= 1;
                    grown = true;
                }
            }
            if !grown {
                break;
            }
        }
        Self { columns: columns.to_vec(), widths, total }
    }

    /// Returns the width a column got, 0 when it was shed.
    pub(crate) fn width(&self, column: usize) -> usize {
        self.widths.get(column).copied().flatten().unwrap_or(0)
    }

    /// Returns the heading, over the whole width; it tells how many of all rows are shown, unless it is all of them.
    pub(crate) fn heading(&self, style: Style, shown: usize, all: usize) -> Line<'static> {
        let mut titles: Vec<Cell> = self.columns.iter().map(|column| cell(column.title, style)).collect();
        if let (Some(first), Some(column)) = (titles.first_mut(), self.columns.first().filter(|_| shown < all)) {
            *first = cell(format!("{} {shown}/{all}", column.title), style);
        }
        let mut line = self.row(titles, style);
        line.push_span(Span::styled(" ".repeat(self.total.saturating_sub(used(&self.widths))), style));
        line
    }

    /// Returns a row; `cells` has one for each column, shed ones included.
    pub(crate) fn row(&self, cells: Vec<Cell>, filler: Style) -> Line<'static> {
        let mut spans = Vec::with_capacity(cells.len() * 3);
        let kept =
            cells.into_iter().zip(&self.columns).zip(&self.widths).filter_map(|((cell, column), width)| Some((cell, column, (*width)?)));
        for (index, (mut cell, column, room)) in kept.enumerate() {
            if index > 0 {
                spans.push(Span::styled(" ".repeat(GAP), filler));
            }
            if let [only] = cell.0.as_mut_slice() {
                only.content = fit(&only.content, room).into();
            }
            let taken: usize = cell.0.iter().map(|span| width(&span.content)).sum();
            let padding = Span::styled(" ".repeat(room.saturating_sub(taken)), filler);
            if column.right {
                spans.push(padding);
                spans.append(&mut cell.0);
            } else {
                spans.append(&mut cell.0);
                spans.push(padding);
            }
        }
        Line::from(spans)
    }
}

fn used(widths: &[Option<usize>]) -> usize {
    let kept = widths.iter().flatten().count();
    widths.iter().flatten().sum::<usize>() + kept.saturating_sub(1) * GAP
}
