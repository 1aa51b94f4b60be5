//! Lays the sections out on a screen of any size. Pure: a scene and a buffer in, cells out.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;

use super::trend::Trends;
use super::{BudgetState, Snapshot, sections};

/// From this width on, sessions stand beside the agents.
const WIDE: u16 = 120;
/// From this height on, a blank line stands between two sections.
const AIRY: u16 = 32;

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
            // Not dark grey: in some palettes that is the background.
            Role::Dim => (None, Modifier::DIM),
            Role::Title => (Some(Color::Cyan), Modifier::BOLD),
            Role::Heading => (Some(Color::Cyan), Modifier::UNDERLINED),
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
    /// What this is.
    Title,
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

/// A section in the order of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Agents,
    AgentsAndSessions,
    Budgets,
    Holds,
    Sessions,
    Events,
}

/// What a section wants of the screen's rows, its heading included.
struct Want {
    section: Section,
    /// Rows below which it is left out; the lower the place, the sooner.
    min: usize,
    /// Rows it can fill.
    most: usize,
    /// Rows it takes at a time while there are any to share.
    weight: usize,
    /// Who is served first when there is little.
    place: u8,
}

fn want(section: Section, items: usize, min: usize, weight: usize, place: u8) -> Want {
    let most = if items == 0 { 0 } else { items + 1 };
    Want { section, min: min.min(most), most, weight, place }
}

fn wants(scene: &Scene<'_>, area: Rect) -> Vec<Want> {
    let snapshot = scene.snapshot;
    // Without agents there is a line that says so.
    let (agents, sessions) = (snapshot.agents.len().max(1), snapshot.sessions.len());
    let mut wants = if area.width >= WIDE {
        vec![want(Section::AgentsAndSessions, agents.max(sessions), 5, 3, 0)]
    } else {
        vec![want(Section::Agents, agents, 4, 3, 0)]
    };
    wants.push(want(Section::Budgets, snapshot.budgets.len(), 3, 2, 2));
    wants.push(want(Section::Holds, snapshot.holds.len(), 2, 1, 1));
    if area.width < WIDE {
        wants.push(want(Section::Sessions, sessions, 3, 1, 4));
    }
    wants.push(want(Section::Events, snapshot.events.len(), 3, 1, 3));
    wants
}

/// Returns the rows of every section: its minimum by rank, then the rest by weight; `gap` rows follow each that is shown.
fn share_out(mut room: usize, gap: usize, wants: &[Want]) -> Vec<usize> {
    let mut rows = vec![0; wants.len()];
    let mut by_place: Vec<usize> = (0..wants.len()).collect();
    by_place.sort_by_key(|&at| wants[at].place);
    for at in by_place {
        let least = wants[at].min;
        // A heading alone says nothing.
        if least >= 2 && least + gap <= room {
            rows[at] = least;
            room -= least + gap;
        }
    }
    loop {
        let before = room;
        for (rows, want) in rows.iter_mut().zip(wants).filter(|(rows, _)| **rows > 0) {
            let more = want.weight.min(want.most - *rows).min(room);
            *rows += more;
            room -= more;
        }
        if room == before {
            return rows;
        }
    }
}

/// Paints a scene over the whole buffer.
pub(crate) fn paint(scene: &Scene<'_>, buffer: &mut Buffer) {
    let area = buffer.area;
    buffer.reset();
    if area.width < 30 || area.height < 8 {
        put(buffer, area, sections::too_small(scene));
        return;
    }
    let columns = usize::from(area.width);
    let gap = u16::from(area.height >= AIRY);
    put(buffer, area, sections::header(scene, columns));
    put(buffer, Rect { y: area.bottom() - 1, height: 1, ..area }, vec![sections::footer(scene, columns)]);

    let top = sections::HEADER_ROWS + gap;
    let mut below = Rect { y: area.y + top, height: area.height - top - 1, ..area };
    let wants = wants(scene, area);
    for (want, rows) in wants.iter().zip(share_out(usize::from(below.height), usize::from(gap), &wants)) {
        let height = u16::try_from(rows).unwrap_or(below.height).min(below.height);
        section(scene, want.section, buffer, Rect { height, ..below });
        let used = if rows == 0 { 0 } else { (height + gap).min(below.height) };
        below.y += used;
        below.height -= used;
    }
}

fn section(scene: &Scene<'_>, section: Section, buffer: &mut Buffer, area: Rect) {
    let (columns, rows) = (usize::from(area.width), usize::from(area.height));
    let lines = match section {
        Section::Agents => sections::agents(scene, columns, rows),
        Section::Budgets => sections::budgets(scene, columns, rows),
        Section::Holds => sections::holds(scene, columns, rows),
        Section::Sessions => sections::sessions(scene, columns, rows),
        Section::Events => sections::events(scene, columns, rows),
        Section::AgentsAndSessions => {
            let left = Rect { width: area.width * 2 / 3, ..area };
            let right = Rect { x: left.right() + 2, width: area.width - left.width - 2, ..area };
            put(buffer, right, sections::sessions(scene, usize::from(right.width), rows));
            put(buffer, left, sections::agents(scene, usize::from(left.width), rows));
            return;
        }
    };
    put(buffer, area, lines);
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
