//! The screen: raw mode, drawing, keys; the terminal is given back on drop, on panic and on a signal.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::Snapshot;
use super::paint::{Scene, Sort, paint};
use super::trend::Trends;

/// Longest wait for a key before signals are looked at.
const SLICE: Duration = Duration::from_millis(100);

/// What the reader asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// Leave: `q`, Esc, Ctrl-C, or a signal to end.
    Quit,
    /// The order of the agents was changed (already done by the view).
    Sort,
    /// The picture was frozen or freed (already done by the view).
    Pause,
    /// The agents were scrolled, or the window changed its size (already done by the view).
    Redraw,
}

/// A terminal in full-screen mode.
pub(crate) struct Terminal {
    screen: Option<DefaultTerminal>,
    ended: Arc<AtomicBool>,
    left: Arc<AtomicBool>,
    colour: bool,
    sort: Sort,
    paused: bool,
    scroll: usize,
    trends: Trends,
    shown: Snapshot,
    title: String,
}

impl Terminal {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// When standard output is not a terminal, or refuses raw mode.
    pub(crate) fn enter() -> io::Result<Self> {
        if !Self::available() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "standard input and output are not a terminal"));
        }
        let (ended, left) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        for signal in [SIGTERM, SIGHUP, SIGINT] {
            // Once the terminal is given back, a signal does again what it does by default.
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&left))?;
            signal_hook::flag::register(signal, Arc::clone(&ended))?;
        }
        // Also hooks panics: the terminal is restored before the message is printed.
        let screen = ratatui::try_init().inspect_err(|_| left.store(true, Ordering::SeqCst))?;
        Ok(Self {
            screen: Some(screen),
            ended,
            left,
            colour: colour_wanted(std::env::var_os("NO_COLOR").as_deref(), std::env::var_os("TERM").as_deref()),
            sort: Sort::default(),
            paused: false,
            scroll: 0,
            trends: Trends::default(),
            shown: Snapshot::default(),
            title: String::new(),
        })
    }

    /// Tells whether there is a terminal to draw on.
    #[must_use]
    pub(crate) fn available() -> bool {
        io::stdout().is_terminal() && io::stdin().is_terminal()
    }

    /// Shows a snapshot; while paused it is taken note of and not shown.
    ///
    /// # Errors
    /// When the terminal cannot be written.
    pub(crate) fn draw(&mut self, snapshot: &Snapshot, title: &str) -> io::Result<()> {
        self.trends.observe(snapshot);
        if !self.paused {
            self.shown.clone_from(snapshot);
            title.clone_into(&mut self.title);
        }
        self.redraw()
    }

    fn redraw(&mut self) -> io::Result<()> {
        let Some(screen) = self.screen.as_mut() else { return Ok(()) };
        let scene = Scene {
            snapshot: &self.shown,
            title: &self.title,
            colour: self.colour,
            sort: self.sort,
            paused: self.paused,
            scroll: self.scroll,
            trends: &self.trends,
        };
        screen.draw(|frame| paint(&scene, frame.buffer_mut())).map(|_| ())
    }

    /// Waits for a key at most `wait`; keys that concern the view alone are carried out before they are returned.
    ///
    /// # Errors
    /// When the terminal cannot be read.
    pub(crate) fn poll_key(&mut self, wait: Duration) -> io::Result<Option<Key>> {
        let started = Instant::now();
        loop {
            if self.ended.load(Ordering::Relaxed) {
                return Ok(Some(Key::Quit));
            }
            let left = wait.saturating_sub(started.elapsed());
            let ready = match event::poll(left.min(SLICE)) {
                // A signal: the flag above tells which kind.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => false,
                ready => ready?,
            };
            if ready {
                if let Some(key) = self.handle(&event::read()?)? {
                    return Ok(Some(key));
                }
            } else if left <= SLICE {
                return Ok(self.ended.load(Ordering::Relaxed).then_some(Key::Quit));
            }
        }
    }

    fn handle(&mut self, event: &Event) -> io::Result<Option<Key>> {
        let key = match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.press(key),
            Event::Resize(..) => Some(Key::Redraw),
            _ => None,
        };
        if matches!(key, Some(Key::Sort | Key::Pause | Key::Redraw)) {
            self.redraw()?;
        }
        Ok(key)
    }

    fn press(&mut self, key: &KeyEvent) -> Option<Key> {
        let last = self.shown.agents.len().saturating_sub(1);
        match key.code {
            KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Quit),
            KeyCode::Char('q' | 'Q') | KeyCode::Esc => Some(Key::Quit),
            KeyCode::Char('s') => {
                self.sort = self.sort.next();
                Some(Key::Sort)
            }
            KeyCode::Char('p' | ' ') => {
                self.paused = !self.paused;
                Some(Key::Pause)
            }
            KeyCode::Up | KeyCode::Char('k') => self.scroll_to(self.scroll.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.scroll_to((self.scroll + 1).min(last)),
            KeyCode::PageUp => self.scroll_to(self.scroll.saturating_sub(10)),
            KeyCode::PageDown => self.scroll_to((self.scroll + 10).min(last)),
            KeyCode::Home => self.scroll_to(0),
            _ => None,
        }
    }

    fn scroll_to(&mut self, row: usize) -> Option<Key> {
        self.scroll = row;
        Some(Key::Redraw)
    }

    /// Gives the terminal back; later draws do nothing.
    pub(crate) fn leave(&mut self) {
        if self.screen.take().is_some() {
            ratatui::restore();
        }
        self.left.store(true, Ordering::SeqCst);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Tells whether colours are wanted, by the convention of `NO_COLOR` and by what the terminal says of itself.
fn colour_wanted(no_color: Option<&std::ffi::OsStr>, term: Option<&std::ffi::OsStr>) -> bool {
    no_color.is_none_or(std::ffi::OsStr::is_empty) && term.is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn no_color_is_obeyed_unless_it_is_empty() {
        assert!(colour_wanted(None, None));
        assert!(colour_wanted(Some(OsStr::new("")), Some(OsStr::new("xterm"))));
        assert!(!colour_wanted(Some(OsStr::new("1")), Some(OsStr::new("xterm"))));
        assert!(!colour_wanted(None, Some(OsStr::new("dumb"))));
    }
}
