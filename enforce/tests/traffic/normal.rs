//! Agents at their normal work.

use sluice_schemas::time::{DAY, HOUR, MINUTE, SECOND};

use super::{CACHED, Caller, EMBED, LARGE, Random, SMALL, Traffic};

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// People in an office: long chats whose contexts grow.
    Chat,
    /// A coding agent: tasks of many steps at a machine's pace, contexts that grow and are compacted.
    Coding,
    /// A public service that answers questions from documents, day and night.
    Rag,
    /// A job each night over documents of all lengths.
    NightJob,
    /// A job each night that fills in one form over and over: near-equal calls.
    Forms,
    /// Embeddings of chunks of one length, in bulk.
    Embeddings,
    /// Calls by the clock: checks every five minutes, a digest every hour.
    Cron,
    /// A poller: one question every 45 seconds or so, all day, nearly the same answer each time.
    Poller,
    /// A service that grows four percent a day.
    Ramp,
    /// A quiet agent that is load tested twice a month.
    LoadTest,
    /// Jobs that come by chance, of all sizes.
    Bursty,
    /// A report on Mondays: heavy, contexts grow.
    Weekly,
    /// A service that is throttled at times and retries.
    Throttled,
    /// An agent that was not there before the twentieth day.
    Newcomer,
    /// An orchestrator: a few times a day it opens up to ten sessions at once, each at a machine's pace.
    Workers,
    /// Chats, and on workdays at nine a class that begins all at once.
    Class,
    /// A service whose deploys, twice a week, are each tried on a suite of requests, eight at a time.
    Deploys,
    /// A service of sessions of a few quick calls each, day and night.
    Requests,
    /// A writer and a reviewer that answer each other until the reviewer is content.
    Review,
    /// Long documents, section by section: each call takes all that was written into its prompt.
    Drafts,
}

/// Every kind.
pub(crate) const KINDS: [Kind; 20] = [
    Kind::Chat,
    Kind::Coding,
    Kind::Rag,
    Kind::NightJob,
    Kind::Forms,
    Kind::Embeddings,
    Kind::Cron,
    Kind::Poller,
    Kind::Ramp,
    Kind::LoadTest,
    Kind::Bursty,
    Kind::Weekly,
    Kind::Throttled,
    Kind::Newcomer,
    Kind::Workers,
    Kind::Class,
    Kind::Deploys,
    Kind::Requests,
    Kind::Review,
    Kind::Drafts,
];

/// Adds `days` of an agent's work.
pub(crate) fn normal(traffic: &mut Traffic, random: &mut Random, kind: Kind, agent: &str, days: i64) {
    let size = random.within(60, 180);
    let mut sessions = 0;
    for day in 0..days {
        let (start, weekend) = (day * DAY, day % 7 >= 5);
        let mut add = Day { traffic, random, agent, start, sessions: &mut sessions, size };
        match kind {
            Kind::Chat if !weekend => add.chats(30),
            Kind::Coding if !weekend => add.tasks(12),
            Kind::Rag => add.questions(30, 1_000),
            Kind::NightJob => add.documents(1, 900),
            Kind::Forms => add.forms(700),
            Kind::Embeddings => add.embeddings(),
            Kind::Cron => add.cron(),
            Kind::Poller => add.poller(),
            Kind::Ramp => add.questions(60, (0..day).fold(1_000, |rate, _| rate * 104 / 100)),
            Kind::LoadTest => {
                add.questions(300, 1_000);
                if day == 9 || day == 23 {
                    add.load_test();
                }
            }
            Kind::Bursty if add.random.chance(350) => {
                let (hour, documents) = (add.random.within(6, 20), add.random.wide(600));
                add.documents(hour, documents);
            }
            Kind::Weekly if day % 7 == 0 => add.tasks(40),
            Kind::Throttled => add.throttled(),
            Kind::Newcomer if day >= 20 => add.questions(120, 1_000),
            Kind::Workers if !weekend => add.workers(),
            Kind::Class if !weekend => add.class(),
            Kind::Deploys => add.deploys(day % 7 == 1 || day % 7 == 3),
            Kind::Requests => add.requests(60),
            Kind::Review if !weekend => add.reviews(),
            Kind::Drafts if !weekend => add.drafts(),
            _ => {}
        }
    }
}

/// A day to be filled.
struct Day<'a> {
    traffic: &'a mut Traffic,
    random: &'a mut Random,
    agent: &'a str,
    start: i64,
    sessions: &'a mut u32,
    /// Percent of the usual size of its kind.
    size: i64,
}

impl Day<'_> {
    fn session(&mut self) -> Caller {
        *self.sessions += 1;
        self.traffic.session(self.agent, &format!("session-{}", self.sessions))
    }

    fn plain(&mut self) -> Caller {
        self.traffic.session(self.agent, "")
    }

    fn chats(&mut self, mean: i64) {
        for _ in 0..self.random.around(mean * self.size / 100, 300) {
            let who = self.session();
            let mut at = self.start + 8 * HOUR + self.random.within(0, 10 * 60) * MINUTE;
            let mut context = self.random.wide(1_500);
            let turns = if self.random.chance(80) { self.random.within(30, 90) } else { self.random.within(2, 20) };
            for _ in 0..turns {
                let answer = self.random.wide(350);
                context += self.random.wide(120);
                self.traffic.call(who, at, context, answer, LARGE);
                context += answer;
                at += self.random.within(8, 25) * SECOND + self.random.wait(50 * SECOND);
            }
        }
    }

    fn tasks(&mut self, mean: i64) {
        for _ in 0..self.random.around(mean * self.size / 100, 400) {
            let who = self.session();
            let mut at = self.start + 8 * HOUR + self.random.within(0, 10 * 60) * MINUTE;
            let floor = self.random.within(8_000, 20_000);
            let mut context = floor;
            for _ in 0..self.random.wide(35) {
                let answer = self.random.wide(300);
                context += self.random.wide(1_600);
                self.traffic.call(who, at, context, answer, CACHED);
                context += answer;
                if context > 150_000 {
                    context = floor + 8_000;
                }
                at += self.random.within(3, 9) * SECOND + self.random.wait(5 * SECOND);
            }
        }
    }

    /// Questions a while apart by day, six times as long by night.
    fn questions(&mut self, apart: i64, rate_permille: i64) {
        let who = self.plain();
        let mut at = 0;
        let apart = apart * SECOND * 100 / self.size * 1_000 / rate_permille;
        loop {
            let hour = at / HOUR;
            let slow = if (7..20).contains(&hour) { 1 } else { 6 };
            at += self.random.wait(apart * slow);
            if at >= DAY {
                return;
            }
            let (prompt, answer) = (self.random.around(4_500, 250), self.random.wide(220));
            self.traffic.call(who, self.start + at, prompt, answer, LARGE);
        }
    }

    fn documents(&mut self, hour: i64, mean: i64) {
        let count = self.random.around(mean * self.size / 100, 300);
        for _ in 0..4 {
            let who = self.plain();
            let mut at = self.start + hour * HOUR;
            for _ in 0..count / 4 {
                let (prompt, answer) = (self.random.wide(6_000), self.random.wide(400));
                self.traffic.call(who, at, prompt, answer, LARGE);
                at += self.random.within(2, 6) * SECOND + answer * 20_000;
            }
        }
    }

    fn forms(&mut self, mean: i64) {
        let who = self.plain();
        let mut at = self.start + 2 * HOUR + self.random.within(0, 20) * MINUTE;
        for _ in 0..self.random.around(mean * self.size / 100, 300) {
            let (prompt, answer) = (self.random.around(2_200, 25), self.random.around(180, 120));
            self.traffic.call(who, at, prompt, answer, LARGE);
            at += self.random.around(2_500_000, 200);
        }
    }

    fn embeddings(&mut self) {
        let who = self.plain();
        let mut at = self.start + self.random.within(0, 20) * HOUR;
        for _ in 0..self.random.around(4_000 * self.size / 100, 500) {
            let prompt = self.random.around(512, 10);
            self.traffic.call(who, at, prompt, 0, EMBED);
            at += self.random.within(50, 150) * 1_000;
        }
    }

    fn cron(&mut self) {
        let who = self.plain();
        for tick in 0..288 {
            let answer = self.random.around(12, 80);
            let late = self.random.within(0, 900) * 1_000;
            self.traffic.call(who, self.start + tick * 5 * MINUTE + late, 900, answer, LARGE);
            if tick % 12 == 0 {
                let (prompt, answer) = (self.random.around(24_000, 200), self.random.around(700, 200));
                self.traffic.call(who, self.start + tick * 5 * MINUTE + 30 * SECOND, prompt, answer, LARGE);
            }
        }
    }

    fn poller(&mut self) {
        let who = self.plain();
        let mut at = 0;
        while at < DAY {
            let answer = if self.random.chance(60) { self.random.wide(200) } else { self.random.around(20, 60) };
            self.traffic.call(who, self.start + at, self.random.around(3_000, 6), answer, LARGE);
            at += self.random.within(42, 52) * SECOND;
        }
    }

    fn load_test(&mut self) {
        let who = self.plain();
        let mut at = self.start + self.random.within(9, 16) * HOUR;
        for _ in 0..1_500 {
            let answer = self.random.around(120, 150);
            self.traffic.call(who, at, 1_000, answer, SMALL);
            at += self.random.within(150, 250) * 1_000;
        }
    }

    fn throttled(&mut self) {
        self.questions(25, 1_000);
        let who = self.plain();
        for _ in 0..self.random.within(1, 3) {
            let begin = self.start + self.random.within(7 * 60, 19 * 60) * MINUTE;
            for _ in 0..self.random.within(5, 40) {
                let (at, prompt) = (begin + self.random.within(0, 120) * SECOND, self.random.around(4_500, 250));
                self.traffic.failure(who, at, prompt);
            }
        }
    }

    fn workers(&mut self) {
        for _ in 0..self.random.within(2, 6) {
            let begin = self.start + self.random.within(8 * 60, 18 * 60) * MINUTE;
            for _ in 0..self.random.within(3, 10) {
                let who = self.session();
                let (at, context) = (begin + self.random.within(0, 20) * SECOND, self.random.wide(9_000));
                let steps = self.random.wide(20);
                self.steps(who, at, context, steps);
            }
        }
    }

    /// Calls of a sub-task: at a machine's pace, each with what the last one found; a context that is too long is compacted.
    fn steps(&mut self, who: Caller, mut at: i64, mut context: i64, count: i64) {
        let floor = context;
        for _ in 0..count {
            let answer = self.random.wide(400);
            context += self.random.wide(1_200);
            self.traffic.call(who, at, context, answer, CACHED);
            context += answer;
            if context > 120_000 {
                context = floor;
            }
            at += self.random.within(3_000, 7_000) * 1_000 + self.random.wait(2 * SECOND);
        }
    }

    fn class(&mut self) {
        self.chats(10);
        for _ in 0..self.random.around(25 * self.size / 100, 200) {
            let who = self.session();
            let mut at = self.start + 9 * HOUR + self.random.within(0, 120) * SECOND;
            let mut context = self.random.around(1_500, 100);
            for _ in 0..self.random.within(3, 12) {
                let answer = self.random.wide(350);
                self.traffic.call(who, at, context, answer, LARGE);
                context += answer + self.random.wide(60);
                at += self.random.within(6, 20) * SECOND + self.random.wait(30 * SECOND);
            }
        }
    }

    fn deploys(&mut self, deployed: bool) {
        self.questions(120, 1_000);
        if !deployed {
            return;
        }
        let begin = self.start + self.random.within(9 * 60, 17 * 60) * MINUTE;
        for _ in 0..8 {
            let mut at = begin + self.random.within(0, 5) * SECOND;
            for _ in 0..self.random.around(12 * self.size / 100, 200) {
                let who = self.session();
                for _ in 0..self.random.within(1, 4) {
                    let (prompt, answer) = (self.random.around(4_500, 250), self.random.wide(220));
                    self.traffic.call(who, at, prompt, answer, LARGE);
                    at += self.random.within(2_000, 5_000) * 1_000;
                }
            }
        }
    }

    fn requests(&mut self, apart: i64) {
        let (mut from, apart) = (0, apart * SECOND * 100 / self.size);
        loop {
            let slow = if (7 * HOUR..20 * HOUR).contains(&from) { 1 } else { 6 };
            from += self.random.wait(apart * slow);
            if from >= DAY {
                return;
            }
            let who = self.session();
            let (context, count) = (self.random.wide(4_000), self.random.within(2, 6));
            self.steps(who, self.start + from, context, count);
        }
    }

    fn reviews(&mut self) {
        for _ in 0..self.random.around(6 * self.size / 100, 300) {
            let both = [self.session(), self.session()];
            let mut at = self.start + self.random.within(8 * 60, 18 * 60) * MINUTE;
            let mut context = self.random.wide(6_000);
            for turn in 0..self.random.within(4, 16) {
                let answer = self.random.wide(if turn % 2 == 0 { 900 } else { 300 });
                self.traffic.call(both[turn as usize % 2], at, context, answer, LARGE);
                context += answer;
                at += self.random.within(2_000, 5_000) * 1_000 + answer * 10_000;
            }
        }
    }

    fn drafts(&mut self) {
        for _ in 0..self.random.around(4 * self.size / 100, 300) {
            let who = self.session();
            let mut at = self.start + self.random.within(8 * 60, 18 * 60) * MINUTE;
            let mut context = self.random.wide(5_000);
            for _ in 0..self.random.within(5, 14) {
                let answer = self.random.around(1_500, 600);
                self.traffic.call(who, at, context, answer, LARGE);
                context += answer + self.random.wide(300);
                at += self.random.within(1_000, 4_000) * 1_000 + answer * 14_000;
            }
        }
    }
}
