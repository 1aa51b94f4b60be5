//! `sluice demo`: the whole pipeline on simulated agents, in a folder of its own.

use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use sluice_ingest::files::{FolderSource, Mode as FolderMode};
use sluice_schemas::visible::escape;
use sluice_schemas::{Clock, SystemClock};

use super::args::DemoArgs;
use crate::config::{Config, Origin, Reloader};
use crate::control::Server;
use crate::operate::{Board, Stage};
use crate::output;
use crate::pipeline::{Command, Handle, Mode, Pipeline, Progressed, Settings};
use crate::simulate::DemoTraffic;
use crate::view::{Key, PlainLines, Snapshot, Terminal};

/// How often the picture is drawn.
const FRAME: Duration = Duration::from_millis(100);
/// Time after the last line for it to be seen.
const SETTLE: Duration = Duration::from_millis(1_500);
const TITLE: &str = "sluice demo · simulated agents, real log format, list prices";

pub(super) fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let root = match &args.dir {
        Some(dir) => dir.clone(),
        None => std::env::temp_dir().join(format!("sluice-demo-{}", std::process::id())),
    };
    let logs = root.join("logs");
    std::fs::create_dir_all(&logs).with_context(|| format!("create {}", logs.display()))?;
    let traffic = DemoTraffic::new(7);
    let file = write_config(&root, &traffic)?;
    let config = Config::load(&Origin { file: Some(file.into()), lake: None })?;
    let (poll_interval, socket) = (config.poll_interval, config.socket.clone());
    let board: Arc<Board> = Arc::default();
    board.enter(Stage::Running);
    let settings = Settings { config, mode: Mode::Live, act: true, clock: Arc::new(SystemClock), board: Arc::clone(&board) };
    let mut pipeline = Pipeline::open(settings)?;
    let source = FolderSource::open(std::slice::from_ref(&logs), &pipeline.positions, FolderMode::Follow { poll_interval })?;
    let (handle, commands) = Pipeline::handle();
    let reloader = Arc::new(Reloader::new(&pipeline.settings.config, handle.commands.clone(), Arc::clone(&board)));
    let server = Server::start(&socket, reloader, handle.commands.clone(), Arc::clone(&board)).ok();
    let mut show = Show::start(args.plain)?;
    if show.terminal.is_none() {
        output::line(&format!("{TITLE}\nlogs: {}\n", logs.display()));
    }
    let written = Written::default();
    let writer = write_traffic(traffic, logs, args.duration, handle.clone(), Arc::clone(&written))?;
    let mut slowest = Duration::ZERO;
    let run = pipeline.run(Box::new(source), &handle, &commands, &mut |pipeline, progressed| {
        show.step(pipeline, progressed, &handle);
        slowest = slowest.max(seen(&written, pipeline.counts.records));
    });
    let last = pipeline.snapshot();
    show.end();
    run?;
    drop(server);
    writer.join().map_err(|_| anyhow::anyhow!("the traffic thread panicked"))??;
    output::print(&closing(&last, &pipeline, &root, slowest));
    Ok(ExitCode::SUCCESS)
}

/// Returns how this program is called, for lines to copy.
fn program() -> String {
    let path = std::env::current_exe().ok();
    let here = std::env::current_dir().ok();
    let relative = path.as_deref().zip(here.as_deref()).and_then(|(path, here)| path.strip_prefix(here).ok());
    relative.or(path.as_deref()).map_or_else(|| "sluice".to_owned(), |path| path.display().to_string())
}

/// Records written in all, and when, for lines that are not visible yet.
type Written = Arc<Mutex<VecDeque<(u64, Instant)>>>;

/// Takes off what is visible now and returns how long the slowest of it took.
fn seen(written: &Written, records: u64) -> Duration {
    let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
    let mut slowest = Duration::ZERO;
    while let Some((_, at)) = written.front().filter(|(count, _)| *count <= records) {
        slowest = slowest.max(at.elapsed());
        written.pop_front();
    }
    slowest
}

/// The terminal, or plain lines.
struct Show {
    terminal: Option<Terminal>,
    plain: PlainLines,
    drawn: Instant,
    quit: AtomicBool,
}

impl Show {
    fn start(plain: bool) -> anyhow::Result<Self> {
        let terminal = if !plain && Terminal::available() { Some(Terminal::enter()?) } else { None };
        Ok(Self { terminal, plain: PlainLines::default(), drawn: Instant::now(), quit: AtomicBool::new(false) })
    }

    fn step(&mut self, pipeline: &mut Pipeline, progressed: Progressed, handle: &Handle) {
        if self.drawn.elapsed() < FRAME && progressed != Progressed::Committed {
            return;
        }
        self.drawn = Instant::now();
        let snapshot = pipeline.snapshot();
        let shown = match &mut self.terminal {
            Some(terminal) => terminal.draw(&snapshot, TITLE).and_then(|()| terminal.poll_key(Duration::ZERO)),
            None => self.plain.update(&snapshot, &mut std::io::stdout().lock()).map(|()| None),
        };
        match shown {
            Ok(Some(Key::Quit)) if !self.quit.swap(true, Ordering::Relaxed) => {
                if handle.commands.try_send(Command::Stop).is_err() {
                    tracing::debug!("already stopping");
                }
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "cannot draw"),
        }
    }

    fn end(&mut self) {
        if let Some(mut terminal) = self.terminal.take() {
            terminal.leave();
        }
        if let Err(error) = std::io::stdout().flush() {
            tracing::debug!(%error, "output is closed");
        }
    }
}

fn write_traffic(
    mut traffic: DemoTraffic,
    logs: PathBuf,
    duration: Duration,
    handle: Handle,
    written: Written,
) -> anyhow::Result<JoinHandle<std::io::Result<()>>> {
    let thread = thread::Builder::new().name("traffic".to_owned()).spawn(move || {
        let begun = Instant::now();
        let mut count = 0;
        while begun.elapsed() < duration && !handle.source.stop.load(Ordering::Relaxed) {
            let at = Instant::now();
            let lines = traffic.tick(begun.elapsed(), SystemClock.now(), &logs)?;
            count += lines;
            if lines > 0 {
                written.lock().unwrap_or_else(PoisonError::into_inner).push_back((count, at));
            }
            thread::sleep(Duration::from_millis(20));
        }
        thread::sleep(SETTLE);
        if handle.commands.send(Command::Stop).is_err() {
            tracing::debug!("already stopped");
        }
        Ok(())
    })?;
    Ok(thread)
}

fn write_config(root: &Path, traffic: &DemoTraffic) -> anyhow::Result<PathBuf> {
    let mut agents = String::from("# Agents of the demo and the roles they run under.\n");
    for agent in traffic.agents().iter().filter(|agent| !matches!(agent.identity.as_str(), "spoofer" | "nobody")) {
        agents
            .push_str(&format!("\n[[agent]]\nid = {:?}\nprincipals = [{:?}]\nteam = {:?}\n", agent.agent_id, agent.principal, agent.team));
    }
    let write = |name: &str, text: &str| {
        let path = root.join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display())).map(|()| path)
    };
    write("agents.toml", &agents)?;
    write("sluice.toml", include_str!("demo.toml"))
}

fn closing(last: &Snapshot, pipeline: &Pipeline, root: &Path, slowest: Duration) -> String {
    let lake = root.join("lake");
    let sluice = program();
    let totals = &last.totals;
    let mut text = format!(
        "\nWhat happened\n  {} calls by {} agents cost {}; the slowest line was visible {} ms after it was written\n",
        totals.facts,
        last.agents.len(),
        totals.cost.display(4),
        slowest.as_millis()
    );
    for breach in pipeline.breaches() {
        text.push_str(&format!(
            "  {} {} of {}: {} crossed {} ({} spent) → {}\n",
            breach.detected_at,
            breach.threshold,
            escape(&breach.budget),
            escape(&breach.target),
            breach.limit_usd.shown(2),
            breach.spent_usd.shown(4),
            breach.actions.join(", ")
        ));
    }
    for hold in &last.holds {
        text.push_str(&format!("  hold on {} ({}): recorded in observe mode; no permission is pulled\n", escape(&hold.target), hold.state));
    }
    if totals.spoofed > 0 {
        text.push_str(&format!(
            "  {} calls claimed an agent that is not theirs; they are booked to their principal as spoofed\n",
            totals.spoofed
        ));
    }
    let (lake, config) = (lake.display(), root.join("sluice.toml"));
    text.push_str(&format!(
        "\nTry on the lake it wrote ({lake})\n  \
         {sluice} query \"SELECT agent_id, sum(calls) AS calls, sum(cost_usd) AS usd FROM spend_day GROUP BY 1 ORDER BY 3 DESC\" --lake {lake}\n  \
         {sluice} query \"SELECT session_id, agent_id, sum(cost_usd) AS usd FROM spend_session GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 5\" --lake {lake}\n  \
         {sluice} query \"SELECT detected_at, budget, target, threshold, spent_usd FROM breaches ORDER BY 1\" --lake {lake}\n\
         and what the budgets would have done from the start:\n  \
         {sluice} budget backtest --config {}\n",
        config.display()
    ));
    text
}
