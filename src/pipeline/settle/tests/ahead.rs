//! Between the counters and the files: late evidence has moved budgets, and the lake does not have it yet.

use std::time::{Duration, Instant};

use sluice_enrich::evidence::Touched;
use tempfile::TempDir;

use super::*;
use crate::pipeline::Command;
use crate::pipeline::evidence_queue::Queue;
use crate::pipeline::recent::Recent;

/// What each agent spent, by the lake and by the budget.
fn by_agent(pipeline: &Pipeline) -> (BTreeMap<String, PicoUsd>, BTreeMap<String, PicoUsd>) {
    let engine = crate::lakeview::engine(&pipeline.lake, pipeline.live_rows()).unwrap();
    let stored = sums(&engine.sql("SELECT arrow_cast(coalesce(agent_id, 'none'), 'Utf8'), sum(cost_usd) FROM calls GROUP BY 1").unwrap());
    let counted = pipeline.budget_status().into_iter().filter(|status| status.budget == "agents" && status.spent != PicoUsd::ZERO);
    (stored, counted.map(|status| (status.target.trim_start_matches("agent_id=").to_owned(), status.spent)).collect())
}

/// Reads on until something is so, and stops there.
fn follow_until(pipeline: &mut Pipeline, root: &Path, mut is_so: impl FnMut(&mut Pipeline) -> bool) {
    let mode = FolderMode::Follow { poll_interval: Duration::from_millis(5) };
    let source = FolderSource::open(&[root.join("logs")], &pipeline.positions, mode).unwrap();
    let (handle, commands) = Pipeline::handle();
    let (stop, begun) = (handle.commands.clone(), Instant::now());
    let mut seen = false;
    let mut observe = |pipeline: &mut Pipeline, _| {
        if !seen && (is_so(pipeline) || begun.elapsed() > Duration::from_secs(60)) {
            seen = true;
            stop.send(Command::Stop).unwrap();
        }
    };
    pipeline.run(Box::new(source), &handle, &commands, &mut observe).unwrap();
    assert!(is_so(pipeline));
}

/// Reads on until counters have what is wanted, and who is over the budget is held.
fn follow(pipeline: &mut Pipeline, root: &Path, wanted: &BTreeMap<String, PicoUsd>) {
    let over = || wanted.iter().filter(|(_, spent)| **spent >= PicoUsd(500_000_000_000)).map(|(agent, _)| format!("agent_id={agent}"));
    follow_until(pipeline, root, |pipeline| {
        let holds = pipeline.shared.holds().unwrap();
        by_agent(pipeline).1 == *wanted && over().all(|target| holds.iter().any(|hold| hold.target == target))
    });
}

/// A daemon whose files have rest, with six calls that seem to be of the only session that is known.
fn at_rest() -> (TempDir, Pipeline) {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let logs = prepare(folder.path());
    let mut pipeline = Pipeline::open(settings(folder.path(), Mode::Live)).unwrap();
    // A round of before: the next one is half a minute away.
    let green = |number| [call(number, 5), called(number, 5, "ASIAGREEN")];
    fs::write(logs.join("1.jsonl"), green(50)[0].clone()).unwrap();
    read(&mut pipeline, folder.path());
    fs::write(logs.join("2.jsonl"), opened(102, 1, "ASIAGREEN", "green") + &green(50)[1]).unwrap();
    read(&mut pipeline, folder.path());
    assert_eq!(told(&pipeline), BTreeMap::from([("green".to_owned(), CALL)]));
    fs::write(logs.join("3.jsonl"), (0..6).map(|number| call(number, 10 + number)).collect::<String>()).unwrap();
    follow(&mut pipeline, folder.path(), &BTreeMap::from([("green".to_owned(), PicoUsd(CALL.0 * 7))]));
    (folder, pipeline)
}

/// The evidence of whose the six calls are: of sessions, and of each call.
fn evidence() -> (String, String) {
    let (called, opened): (Vec<_>, Vec<_>) =
        records().into_iter().filter(|record| record.contains("eventVersion")).partition(|record| record.contains("Converse"));
    (opened.concat(), called.concat())
}

/// The same when counters have followed the evidence of whose the calls are, and files have not.
fn ahead() -> (TempDir, Pipeline) {
    let (folder, mut pipeline) = at_rest();
    let (opened, called) = evidence();
    fs::write(folder.path().join("logs/4.jsonl"), opened + &called).unwrap();
    follow(&mut pipeline, folder.path(), &whose());
    (folder, pipeline)
}

fn whose() -> BTreeMap<String, PicoUsd> {
    let mut right = right();
    right.insert("green".to_owned(), CALL);
    right
}

#[test]
fn counters_follow_at_once_and_files_with_the_next_round() {
    let (folder, mut pipeline) = ahead();
    let (stored, counted) = by_agent(&pipeline);
    assert_eq!(counted, whose());
    assert_eq!(stored, BTreeMap::from([("green".to_owned(), PicoUsd(CALL.0 * 7))]), "files had rest");
    // Sums are exact at every moment, whoever the calls are booked to.
    assert_eq!(stored.values().copied().sum::<PicoUsd>(), counted.values().copied().sum::<PicoUsd>());
    assert_eq!(count(&pipeline, "corrections"), 1);
    read(&mut pipeline, folder.path());
    assert_eq!(told(&pipeline), whose());
    assert_eq!(count(&pipeline, "corrections"), 7, "one row for each move");
    assert_eq!(pipeline.counts.moved, 7, "a call that counters moved first moved once");
}

#[test]
fn a_process_that_ends_in_between_is_gone_on_with() {
    for lost in [false, true] {
        let (folder, pipeline) = ahead();
        let active: Vec<String> = pipeline.shared.holds().unwrap().into_iter().map(|hold| hold.target).collect();
        assert!(active.contains(&"agent_id=red".to_owned()), "{active:?}");
        let breaches = count(&pipeline, "breaches");
        drop(pipeline);
        let root = folder.path();
        if lost {
            let config = Config::load(&Origin { file: Some(root.join("sluice.toml").into()), lake: None }).unwrap();
            fs::remove_file(&config.state).unwrap();
        }
        let mut pipeline = Pipeline::open(settings(root, Mode::Live)).unwrap();
        // What is not in the lake is taken back, so that everything that is filled from it agrees.
        assert_eq!(told(&pipeline), BTreeMap::from([("green".to_owned(), PicoUsd(CALL.0 * 7))]));
        read(&mut pipeline, root);
        assert_eq!(told(&pipeline), whose());
        assert_eq!(count(&pipeline, "corrections"), 7);
        assert_eq!(count(&pipeline, "breaches"), breaches, "nothing crossed twice");
        let red = |hold: &&Hold| hold.target == "agent_id=red";
        let holds = pipeline.shared.holds().unwrap();
        assert!(holds.iter().filter(red).all(|hold| hold.state == HoldState::Active), "{holds:?}");
        drop(pipeline);
        assert_eq!(told(&Pipeline::open(settings(root, Mode::Live)).unwrap()), whose());
    }
}

#[test]
fn a_pass_over_old_records_takes_over_from_counters_that_were_ahead() {
    let (folder, pipeline) = ahead();
    drop(pipeline);
    let mut pipeline = Pipeline::open(settings(folder.path(), Mode::Bulk)).unwrap();
    read(&mut pipeline, folder.path());
    assert_eq!(told(&pipeline), whose());
    assert_eq!(count(&pipeline, "corrections"), 7);
}

#[test]
fn a_budget_that_is_new_counts_what_counters_have() {
    let (folder, mut pipeline) = ahead();
    let more = CONFIG.to_owned() + "[[budget]]\nname = 'more'\neach = ['agent_id']\nlimit = '9 USD'\nwindow = 'lifetime'\n";
    fs::write(folder.path().join("sluice.toml"), more).unwrap();
    let config = Config::load(&Origin { file: Some(folder.path().join("sluice.toml").into()), lake: None }).unwrap();
    let (reply, answer) = crossbeam_channel::bounded(1);
    pipeline.answer_reload(config, &reply);
    assert!(matches!(answer.recv().unwrap(), crate::control::Answer::Json(_)));
    let spent = |name: &str| -> BTreeMap<String, PicoUsd> {
        let of_budget = pipeline.budget_status().into_iter().filter(|status| status.budget == name && status.spent != PicoUsd::ZERO);
        of_budget.map(|status| (status.target, status.spent)).collect()
    };
    assert_eq!(spent("more"), spent("agents"));
    assert_eq!(spent("more").len(), 3);
}

#[test]
fn files_may_know_more_than_counters_did() {
    let (folder, mut pipeline) = at_rest();
    let (opened, called) = evidence();
    fs::write(folder.path().join("logs/4.jsonl"), opened).unwrap();
    let unsure = BTreeMap::from([("green".to_owned(), CALL), ("unattributed".to_owned(), PicoUsd(CALL.0 * 6))]);
    follow_until(&mut pipeline, folder.path(), |pipeline| {
        // Of three sessions of one name nobody can tell whose a call is. While it comes in whose each is, counters have rest, so that
        // the next round knows more than they did.
        if by_agent(pipeline).1 == unsure && count(pipeline, "evidence") == 4 {
            pipeline.ahead.rest_for(Duration::from_secs(3_600));
            fs::write(folder.path().join("logs/5.jsonl"), &called).unwrap();
        }
        count(pipeline, "evidence") == 10
    });
    let green = BTreeMap::from([("green".to_owned(), PicoUsd(CALL.0 * 7))]);
    assert_eq!(by_agent(&pipeline), (green, unsure), "files had rest, and then counters");
    pipeline.catch_up().unwrap();
    assert_eq!(told(&pipeline), whose());
    // What came in is still to be followed, and there is nothing left to move.
    pipeline.settle_all().unwrap();
    assert_eq!(told(&pipeline), whose());
    assert_eq!(count(&pipeline, "corrections"), 7);
}

#[test]
fn a_daemon_that_is_stopped_at_any_moment_tells_one_story_in_the_end() {
    for seed in 0..16_u64 {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let (root, logs) = (folder.path(), prepare(folder.path()));
        // The clock runs fast here: calls would be metered before their log comes.
        fs::write(root.join("sluice.toml"), CONFIG.to_owned() + "[cloudtrail]\nmeter = 'off'\n").unwrap();
        let mut pipeline = Pipeline::open(settings(root, Mode::Live)).unwrap();
        let (records, mut seen) = (shuffled(seed), 0);
        for (run, chunk) in records.chunks(1 + seed as usize % 4).enumerate() {
            fs::write(logs.join(format!("{run:02}.jsonl")), chunk.concat()).unwrap();
            seen += chunk.len() as i64;
            // Counters may have followed by then, or files, or neither.
            follow_until(&mut pipeline, root, |pipeline| count(pipeline, "calls") + count(pipeline, "evidence") == seen);
            let (stored, counted) = by_agent(&pipeline);
            let sum = |of: &BTreeMap<String, PicoUsd>| of.values().copied().sum::<PicoUsd>();
            assert_eq!(sum(&stored), sum(&counted), "seed {seed}, run {run}");
            if (seed >> (run % 4)) & 1 == 1 {
                drop(pipeline);
                pipeline = Pipeline::open(settings(root, Mode::Live)).unwrap();
                told(&pipeline);
            }
        }
        read(&mut pipeline, root);
        assert_eq!(told(&pipeline), right(), "seed {seed}");
    }
}

#[test]
fn prices_that_come_late_meet_counters_that_were_ahead() {
    let (folder, mut pipeline) = ahead();
    fs::write(folder.path().join("prices.toml"), PRICES.replace("input = '1'", "input = '2'")).unwrap();
    pipeline.rate_lake(crate::pipeline::RateOrder { all: true, dry_run: false }).unwrap();
    let twice: BTreeMap<_, _> = whose().into_iter().map(|(agent, spent)| (agent, PicoUsd(spent.0 * 2))).collect();
    assert_eq!(told(&pipeline), twice);
    // A call that moves after that moves at its new price.
    fs::write(folder.path().join("logs/5.jsonl"), opened(103, 0, "ASIAWHITE", "white") + &called(50, 5, "ASIAWHITE")).unwrap();
    read(&mut pipeline, folder.path());
    told(&pipeline);
}

#[test]
fn calls_that_came_lately_are_found_until_others_take_their_place() {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let logs = prepare(folder.path());
    fs::write(logs.join("1.jsonl"), (0..6).map(|number| call(number, 10 + number)).collect::<String>()).unwrap();
    let mut pipeline = Pipeline::open(settings(folder.path(), Mode::Live)).unwrap();
    read(&mut pipeline, folder.path());
    let engine = crate::lakeview::engine(&pipeline.lake, Vec::new()).unwrap();
    let rows = engine.sql("SELECT * FROM calls ORDER BY event_time").unwrap();
    let rows = arrow::compute::concat_batches(&rows[0].schema(), &rows).unwrap();
    let mut keys = Vec::new();
    sluice_aggregate::known::for_each_row(&rows, |_, at, key| keys.push((at, key))).unwrap();
    let asked = |keys: &[(Micros, u128)]| {
        let mut queue = Queue::default();
        keys.iter().for_each(|(at, key)| queue.add(Touched::Request(*key, *at), NOW, 1));
        queue
    };
    let found = |recent: &Recent, queue: &Queue| -> usize { recent.spoken_of(queue).iter().map(|(_, rows)| rows.len()).sum() };
    let mut recent = Recent::default();
    recent.push(&rows, usize::MAX).unwrap();
    assert_eq!(found(&recent, &asked(&keys[1..4])), 3);
    // The same calls once more: each is found once, where it came last.
    recent.push(&rows.slice(0, 2), usize::MAX).unwrap();
    assert_eq!(found(&recent, &asked(&keys)), 6);
    let mut whole = Queue::default();
    whole.add(Touched::Session(ROLE.to_owned(), keys[0].0, keys[5].0), NOW, 1);
    assert_eq!(found(&recent, &whole), 6);
    recent.forget(&[keys[0].1, keys[5].1]);
    assert_eq!(found(&recent, &asked(&keys)), 4);
    assert_eq!(found(&recent, &whole), 4);
    // The oldest go first.
    recent.push(&rows.slice(4, 2), 0).unwrap();
    assert_eq!(found(&recent, &asked(&keys)), 0);
}
