//! Lays the sections out on a screen of any size. Pure: a scene and a buffer in, cells out.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;

use super::trend::Trends;
use super::{BudgetState, Snapshot, sections};

/// From this width on, sessions stand beside the agents.
const WIDE: u16 = 120;

/// What the agents are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sort {
    /// Highest spend first.
    #[default]
    Spend,
    /// Highest burn rate first.
    Burn,
    /// Most calls first.
    Calls,
    /// Latest first.
    Recent,
    /// By name.
    Name,
}

impl Sort {
    /// Returns the next one in the cycle.
    #[must_use]
    pub(crate) const fn next(self) -> Self {
        match self {
            Self::Spend => Self::Burn,
            Self::Burn => Self::Calls,
            Self::Calls => Self::Recent,
            Self::Recent => Self::Name,
            Self::Name => Self::Spend,
        }
    }

    /// Returns its word.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Spend => "spend",
            Self::Burn => "burn",
            Self::Calls => "calls",
            Self::Recent => "recent",
            Self::Name => "name",
        }
    }
}

/// A snapshot and how the reader wants to see it.
pub(crate) struct Scene<'a> {
    /// What is shown.
    pub(crate) snapshot: &'a Snapshot,
    /// What stands in the first line.
    pub(crate) title: &'a str,
    /// Whether colours are used.
    pub(crate) colour: bool,
    /// Order of the agents.
    pub(crate) sort: Sort,
    /// Whether the picture stands still.
    pub(crate) paused: bool,
    /// Agents left out at the top.
    pub(crate) scroll: usize,
    /// Recent spend.
    pub(crate) trends: &'a Trends,
}

impl Scene<'_> {
    /// Returns a style, without its colour where there is none.
    pub(crate) fn style(&self, role: Role) -> Style {
        let (colour, modifier) = match role {
            Role::Plain => (None, Modifier::empty()),
            Role::Strong => (None, Modifier::BOLD),
            Role::Dim => (Some(Color::DarkGray), Modifier::empty()),
            Role::Heading => (Some(Color::Cyan), Modifier::BOLD),
            Role::Good => (Some(Color::Green), Modifier::empty()),
            Role::Warn => (Some(Color::Yellow), Modifier::empty()),
            Role::Bad => (Some(Color::Red), Modifier::BOLD),
        };
        let style = Style::new().add_modifier(modifier);
        match colour.filter(|_| self.colour) {
            Some(colour) => style.fg(colour),
            None => style,
        }
    }
}

/// What a piece of text means, apart from how it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Text.
    Plain,
    /// A number that matters.
    Strong,
    /// Beside the point.
    Dim,
    /// Heading of a section.
    Heading,
    /// As it should be.
    Good,
    /// Getting close.
    Warn,
    /// Beyond.
    Bad,
}

impl Role {
    /// Returns the role of a budget by how much of it is spent and where it stands.
    pub(crate) const fn of_budget(percent_millis: u64, state: BudgetState) -> Self {
        match (state, percent_millis) {
            (BudgetState::Breached | BudgetState::Held, _) | (_, 100_000..) => Self::Bad,
            (BudgetState::Warned, _) | (_, 80_000..) => Self::Warn,
            (BudgetState::Ok, _) => Self::Good,
        }
    }
}

/// Rows of a section: what it cannot do without and what it would fill.
struct Share {
    rows: usize,
    wanted: usize,
}

/// Gives every share its minimum in order, then the rest row by row.
fn share_out(mut room: usize, wanted: &[(usize, usize)]) -> Vec<usize> {
    let mut shares: Vec<Share> = Vec::with_capacity(wanted.len());
    for &(min, wanted) in wanted {
        let rows = min.min(wanted).min(room);
        // A section of a heading alone says nothing.
        let rows = if rows < 2 { 0 } else { rows };
        room -= rows;
        shares.push(Share { rows, wanted });
    }
    while room > 0 {
        let before = room;
        for share in shares.iter_mut().filter(|share| share.rows > 0 && share.rows < share.wanted) {
            if room > 0 {
                share.rows += 1;
                room -= 1;
            }
        }
        if room == before {
            break;
        }
    }
    shares.into_iter().map(|share| share.rows).collect()
}

/// Paints a scene over the whole buffer.
pub(crate) fn paint(scene: &Scene<'_>, buffer: &mut Buffer) {
    let area = buffer.area;
    buffer.reset();
    if area.width < 30 || area.height < 6 {
        put(buffer, area, sections::too_small(scene));
        return;
    }
    let columns = usize::from(area.width);
    let header = sections::header(scene, columns);
    let top = header.len();
    put(buffer, area, header);
    let footer = Rect { y: area.bottom() - 1, height: 1, ..area };
    put(buffer, footer, vec![sections::footer(scene, columns)]);
    let body = Rect { y: area.y + top as u16, height: area.height.saturating_sub(top as u16 + 1), ..area };
    if area.width >= WIDE { wide(scene, buffer, body) } else { narrow(scene, buffer, body) }
}

/// Rows a section with a heading and a blank line after it takes.
fn rows_of(items: usize) -> usize {
    if items == 0 { 0 } else { items + 2 }
}

fn narrow(scene: &Scene<'_>, buffer: &mut Buffer, area: Rect) {
    let snapshot = scene.snapshot;
    let columns = usize::from(area.width);
    let holds = rows_of(snapshot.holds.len());
    let shares = share_out(
        usize::from(area.height),
        &[
            (5, rows_of(snapshot.agents.len().max(1))),
            (4, rows_of(snapshot.budgets.len())),
            (4, rows_of(snapshot.events.len())),
            (3, holds),
            (4, rows_of(snapshot.sessions.len())),
        ],
    );
    let mut below = area;
    let mut place = |rows: usize, lines: Vec<Line<'static>>| {
        put(buffer, Rect { height: rows.saturating_sub(1) as u16, ..below }, lines);
        below.y += rows as u16;
        below.height -= rows as u16;
    };
    let inner = |rows: usize| rows.saturating_sub(1);
    place(shares[0], sections::agents(scene, columns, inner(shares[0])));
    place(shares[1], sections::budgets(scene, columns, inner(shares[1])));
    place(shares[3], sections::holds(scene, columns, inner(shares[3])));
    place(shares[4], sections::sessions(scene, columns, inner(shares[4])));
    place(shares[2], sections::events(scene, columns, inner(shares[2])));
}

fn wide(scene: &Scene<'_>, buffer: &mut Buffer, area: Rect) {
    let snapshot = scene.snapshot;
    let columns = usize::from(area.width);
    let tallest = snapshot.agents.len().max(snapshot.sessions.len()).max(1);
    let shares = share_out(
        usize::from(area.height),
        &[
            (8, rows_of(tallest)),
            (5, rows_of(snapshot.budgets.len())),
            (5, rows_of(snapshot.events.len())),
            (3, rows_of(snapshot.holds.len())),
        ],
    );
    let mut y = area.y;
    let mut next = |rows: usize| {
        let at = Rect { y, height: rows.saturating_sub(1) as u16, ..area };
        y += rows as u16;
        at
    };
    let inner = |rows: usize| rows.saturating_sub(1);
    let both = next(shares[0]);
    let left = Rect { width: area.width * 5 / 8, ..both };
    let right = Rect { x: left.right() + 3, width: area.width - left.width - 3, ..both };
    put(buffer, left, sections::agents(scene, usize::from(left.width), inner(shares[0])));
    put(buffer, right, sections::sessions(scene, usize::from(right.width), inner(shares[0])));
    put(buffer, next(shares[1]), sections::budgets(scene, columns, inner(shares[1])));
    put(buffer, next(shares[3]), sections::holds(scene, columns, inner(shares[3])));
    put(buffer, next(shares[2]), sections::events(scene, columns, inner(shares[2])));
}

fn put(buffer: &mut Buffer, area: Rect, lines: Vec<Line<'static>>) {
    for (y, line) in (area.y..area.bottom()).zip(&lines) {
        buffer.set_line(area.x, y, line, area.width);
    }
}

/// Renders a snapshot as plain text of a given size, without colours: what a screenshot would say.
#[must_use]
pub(crate) fn render_to_text(snapshot: &Snapshot, width: u16, height: u16) -> String {
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
    let trends = Trends::default();
    let scene = Scene { snapshot, title: "sluice", colour: false, sort: Sort::Spend, paused: false, scroll: 0, trends: &trends };
    paint(&scene, &mut buffer);
    let mut out = String::new();
    for y in 0..height {
        let mut line = String::new();
        let mut skip = 0;
        for x in 0..width {
            let symbol = buffer[(x, y)].symbol();
            if skip == 0 {
                line.push_str(symbol);
            }
            skip = super::format::width(symbol).max(skip).saturating_sub(1);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
