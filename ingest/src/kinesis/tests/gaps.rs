//! Starts, restarts after long absences, and records that the stream dropped.

use super::*;
use crate::source::ShardState;

const HOUR_MS: u64 = 3_600_000;

fn states(world: &World) -> Vec<(String, ShardState)> {
    world
        .stream
        .health(world.fake.now())
        .map(|health| (health.shard.rsplit('/').next().expect("a name").to_owned(), health.state))
        .collect()
}

fn begun(fake: Fake, start: Start, on_gap: OnGap) -> World {
    let mut world = World::new(fake, start, on_gap);
    world.run(2_000);
    world
}

#[test]
fn latest_stays_where_it_was_first_started() {
    let mut fake = Fake::new(2);
    let ids = fake.open();
    fake.put(&ids[0], 5);
    fake.now_ms += 10;
    let mut world = World::new(fake, Start::Latest, OnGap::Stop);
    world.take();
    world.commit();
    world.fake.now_ms += 100;
    world.fake.put(&ids[0], 3);
    // Nothing was read when it was killed; what came meanwhile is not lost.
    world.restart();
    world.run(3_000);
    let written: Vec<_> = world.fake.written().collect();
    assert_eq!(world.ledger.read_of(&ids[0]), &written[0].1[5..]);
    assert_eq!(world.ledger.gaps, []);
}

#[test]
fn a_first_start_that_was_interrupted_goes_on_from_the_moment_it_had_chosen() {
    let mut fake = Fake::new(3);
    let ids = fake.open();
    fake.now_ms += 10;
    let mut world = World::new(fake, Start::Latest, OnGap::Stop);
    let first = world.stream.take().expect("the pin of the first shard");
    world.ledger.take(first);
    world.commit();
    world.fake.now_ms += 60_000;
    ids.iter().for_each(|id| world.fake.put(id, 2));
    world.fake.now_ms += 60_000;
    world.restart();
    world.run(3_000);
    world.assert_all_read();
}

#[test]
fn shards_that_came_while_nobody_looked_are_read_whole() {
    let mut world = begun(Fake::new(1), Start::Latest, OnGap::Stop);
    let id = world.fake.open()[0].clone();
    world.fake.put(&id, 4);
    let [left, right] = world.fake.split(&id);
    world.fake.put(&left, 4);
    let both = world.fake.merge(&left, &right);
    world.fake.put(&both, 4);
    world.fake.now_ms += HOUR_MS;
    world.restart();
    world.run(5_000);
    world.assert_all_read();
    assert!(states(&world).iter().filter(|(_, state)| *state == ShardState::Ended).count() == 3);
}

#[test]
fn an_idle_shard_that_was_watched_has_no_gap_however_old_its_last_record_is() {
    let mut fake = Fake::new(1);
    let id = fake.open()[0].clone();
    fake.put(&id, 3);
    let mut world = begun(fake, Start::TrimHorizon, OnGap::Stop);
    for _ in 0..30 {
        world.fake.trim();
        world.run(HOUR_MS);
    }
    // Away for an hour; its last record is older than the stream keeps any.
    world.fake.now_ms += HOUR_MS;
    world.fake.put(&id, 1);
    world.restart();
    world.fake.trim();
    world.run(2_000);
    assert_eq!(world.ledger.gaps, []);
    world.assert_all_read();
}

/// Away for longer than the stream keeps records.
fn away(on_gap: OnGap) -> (World, Vec<String>) {
    let mut world = begun(Fake::new(2), Start::TrimHorizon, on_gap);
    let ids = world.fake.open();
    ids.iter().for_each(|id| world.fake.put(id, 2));
    world.run(2_000);
    ids.iter().for_each(|id| world.fake.put(id, 2));
    world.fake.now_ms += 25 * HOUR_MS;
    ids.iter().for_each(|id| world.fake.put(id, 2));
    world.fake.trim();
    world.restart();
    world.run(5_000);
    (world, ids)
}

#[test]
fn a_gap_is_recorded_once_and_stops_its_shard_until_an_order_comes() {
    let (mut world, ids) = away(OnGap::Stop);
    assert_eq!(world.ledger.gaps.len(), 2, "{:?}", world.ledger.gaps);
    assert!(world.ledger.gaps[0].1.contains("24 hours"), "{:?}", world.ledger.gaps);
    assert_eq!(world.ledger.read_of(&ids[0]).len(), 2, "the position stays");
    world.restart();
    world.run(60_000);
    assert_eq!(world.ledger.gaps.len(), 2, "once, however often it starts");
    assert!(states(&world).iter().all(|(_, state)| matches!(state, ShardState::Stopped(_))));
    let now = world.fake.now();
    let shard = format!("{PREFIX}/{}", ids[0]);
    assert!(world.stream.resume(&shard, now));
    assert!(!world.stream.resume(&shard, now), "it goes on already");
    assert!(!world.stream.resume("kinesis:other", now));
    world.run(5_000);
    world.restart();
    world.run(5_000);
    assert_eq!(world.ledger.read_of(&ids[0]).len(), 4, "what is still there");
    assert_eq!(world.ledger.read_of(&ids[1]).len(), 2, "the other one still stands");
    assert_eq!(world.ledger.gaps.len(), 2);
}

#[test]
fn a_resumed_shard_that_is_killed_before_its_first_record_resumes_again() {
    let (mut world, ids) = away(OnGap::Stop);
    let now = world.fake.now();
    assert!(world.stream.resume(&format!("{PREFIX}/{}", ids[0]), now));
    world.take();
    world.commit();
    world.restart();
    world.run(5_000);
    assert_eq!(world.ledger.read_of(&ids[0]).len(), 4);
}

#[test]
fn a_gap_may_be_configured_to_stop_nothing() {
    let (world, ids) = away(OnGap::Resume);
    assert_eq!(world.ledger.gaps.len(), 2);
    ids.iter().for_each(|id| assert_eq!(world.ledger.read_of(id).len(), 4));
}

#[test]
fn a_sequence_number_the_stream_does_not_know_is_a_gap() {
    let mut world = begun(Fake::new(1), Start::TrimHorizon, OnGap::Stop);
    let id = world.fake.open()[0].clone();
    world.fake.put(&id, 2);
    world.run(2_000);
    world.fake.replace(&id);
    world.fake.put(&id, 1);
    world.restart();
    world.run(2_000);
    assert!(world.ledger.gaps[0].1.contains("is not in the stream any more"), "{:?}", world.ledger.gaps);
}

#[test]
fn a_parent_that_expired_before_its_end_is_a_gap_and_holds_up_nobody() {
    let mut world = begun(Fake::new(1), Start::TrimHorizon, OnGap::Resume);
    let id = world.fake.open()[0].clone();
    world.fake.put(&id, 2);
    world.run(2_000);
    world.fake.put(&id, 2);
    let [left, right] = world.fake.split(&id);
    world.fake.now_ms += 30 * HOUR_MS;
    world.fake.put(&left, 2);
    world.fake.expire(&id);
    world.restart();
    world.run(120_000);
    let lost: Vec<_> = world.ledger.gaps.iter().filter(|(shard, _)| shard.ends_with(&id)).collect();
    assert_eq!(lost.len(), 1, "{:?}", world.ledger.gaps);
    assert!(lost[0].1.contains("expired before it was read to its end"));
    assert_eq!(world.ledger.read_of(&left).len(), 2);
    assert!(world.ledger.positions[&format!("{PREFIX}/{id}")].ended);
    assert_eq!(world.ledger.read_of(&right).len(), 0);
}

#[test]
fn a_generation_that_came_and_went_is_a_gap() {
    let mut world = begun(Fake::new(1), Start::TrimHorizon, OnGap::Resume);
    let id = world.fake.open()[0].clone();
    let [left, _] = world.fake.split(&id);
    let [second, _] = world.fake.split(&left);
    world.fake.now_ms += 30 * HOUR_MS;
    world.fake.put(&second, 1);
    world.fake.expire(&id);
    world.fake.expire(&left);
    world.restart();
    world.run(240_000);
    let lost: Vec<&str> = world.ledger.gaps.iter().filter(|(_, why)| why.contains("expired")).map(|(shard, _)| shard.as_str()).collect();
    assert_eq!(lost, [format!("{PREFIX}/{id}"), format!("{PREFIX}/{left}")]);
    assert_eq!(world.ledger.read_of(&second).len(), 1);
}

#[test]
fn what_was_gone_before_the_first_start_is_nobodys_loss() {
    let mut fake = Fake::new(1);
    let id = fake.open()[0].clone();
    let [left, right] = fake.split(&id);
    fake.put(&left, 2);
    fake.expire(&id);
    let mut world = begun(fake, Start::TrimHorizon, OnGap::Stop);
    world.restart();
    world.run(2_000);
    assert_eq!(world.ledger.gaps, []);
    assert_eq!(world.ledger.read_of(&left).len(), 2);
    assert_eq!(world.ledger.read_of(&right).len(), 0);
}

#[test]
fn a_stream_created_anew_is_another_stream() {
    let mut world = begun(Fake::new(2), Start::TrimHorizon, OnGap::Resume);
    let ids = world.fake.open();
    world.fake.put(&ids[0], 3);
    world.run(2_000);
    let now_ms = world.fake.now_ms;
    world.fake = Fake::new(1);
    world.fake.now_ms = now_ms + HOUR_MS;
    world.fake.created = world.fake.now_ms / 1_000;
    world.fake.put(&ids[0], 2);
    // The list tells, while it runs.
    world.run(180_000);
    assert_eq!(world.ledger.gaps.len(), 2, "{:?}", world.ledger.gaps);
    assert_eq!(world.ledger.read_of(&ids[0]).len(), 5);
    world.restart();
    world.run(60_000);
    assert_eq!(world.ledger.gaps.len(), 2);
    assert_eq!(world.ledger.read_of(&ids[0]).len(), 5);
}

#[test]
fn a_child_waits_for_the_commit_and_is_quick_then() {
    let mut world = begun(Fake::new(1), Start::TrimHorizon, OnGap::Stop);
    let id = world.fake.open()[0].clone();
    world.fake.put(&id, 1);
    let [left, _] = world.fake.split(&id);
    world.fake.put(&left, 1);
    let step = |world: &mut World| {
        world.fake.now_ms += 50;
        let now = world.fake.now();
        for request in world.stream.requests(&world.committed, now) {
            let shard = request.call.shard().map(str::to_owned);
            let outcome = world.fake.carry_out(request.call);
            world.stream.done(Done { shard, number: request.number, called: request.called, outcome }, now);
        }
        world.take();
    };
    (0..200).for_each(|_| step(&mut world));
    assert_eq!(world.ledger.read_of(&left).len(), 0, "read, but not committed");
    assert!(states(&world).contains(&(left.clone(), ShardState::Waiting)));
    world.commit();
    (0..5).for_each(|_| step(&mut world));
    assert_eq!(world.ledger.read_of(&left).len(), 1);
}

#[test]
fn a_record_is_seen_within_a_quarter_of_a_second() {
    let mut world = begun(Fake::new(4), Start::TrimHorizon, OnGap::Stop);
    for step in 0..50 {
        let id = world.fake.open()[step % 4].clone();
        world.fake.put(&id, 1);
        world.run(240);
        world.assert_all_read();
    }
}

#[test]
fn shards_that_are_long_gone_are_forgotten_and_their_children_go_on() {
    let mut world = begun(Fake::new(1), Start::TrimHorizon, OnGap::Stop);
    let mut id = world.fake.open()[0].clone();
    let mut old = Vec::new();
    for _ in 0..5 {
        world.fake.put(&id, 2);
        let [left, right] = world.fake.split(&id);
        let merged = world.fake.merge(&left, &right);
        old.extend([std::mem::replace(&mut id, merged), left, right]);
        world.run(4_000);
    }
    // The last two generations are still there.
    old.truncate(9);
    old.iter().for_each(|id| world.fake.expire(id));
    world.run(120_000);
    assert!(world.stream.health(world.fake.now()).count() <= 9);
    world.restart();
    world.fake.put(&id, 2);
    world.run(2_000);
    world.assert_all_read();
    assert_eq!(world.ledger.gaps, []);
    assert!(world.stream.health(world.fake.now()).count() <= 9);
}

#[test]
fn a_large_answer_becomes_pieces_that_chain() {
    let mut fake = Fake::new(1);
    let id = fake.open()[0].clone();
    fake.put(&id, 9_000);
    fake.record_bytes = 1_000;
    let mut world = World::new(fake, Start::TrimHorizon, OnGap::Stop);
    world.run(1_000);
    world.assert_all_read();
    let pieces = world.ledger.sizes.iter().filter(|bytes| **bytes > 0).count();
    assert_eq!(pieces, 9, "{:?}", world.ledger.sizes);
}

#[test]
fn what_waits_is_bounded() {
    let mut fake = Fake::new(20);
    fake.record_bytes = 1_000;
    fake.open().iter().for_each(|id| fake.put(id, 40_000));
    let mut world = World::new(fake, Start::TrimHorizon, OnGap::Stop);
    world.take();
    let mut most = 0;
    for _ in 0..400 {
        world.fake.now_ms += 100;
        let now = world.fake.now();
        for request in world.stream.requests(&world.committed, now) {
            let shard = request.call.shard().map(str::to_owned);
            let outcome = world.fake.carry_out(request.call);
            world.stream.done(Done { shard, number: request.number, called: request.called, outcome }, now);
        }
        most = most.max(world.stream.waiting_bytes());
        // Slower than it could be read.
        world.stream.take().into_iter().for_each(|piece| world.ledger.take(piece));
    }
    assert!(most < 160 << 20, "of the first answers none knew how large they would be: {most}");
    assert!(world.stream.waiting_bytes() <= 60 << 20, "{}", world.stream.waiting_bytes());
}
