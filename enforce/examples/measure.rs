//! temp
use std::sync::Arc;
use sluice_enforce::*;
use sluice_schemas::*;
fn rss() -> u64 { let s = std::fs::read_to_string("/proc/self/statm").unwrap(); s.split(' ').nth(1).unwrap().parse::<u64>().unwrap()*4096/1024/1024 }
fn feed(n: usize, base: i64, sess: bool) -> (EnrichedBatch, Vec<SpendDelta>) {
    let mut b = EnrichedBatch::default(); let mut d = vec![];
    let st=&mut b.batch.strings;
    for i in 0..n {
        let agent = st.intern(&format!("agent-{}", i % 200));
        let session = if sess { st.intern(&format!("5f0c6c52-0000-4000-8000-{:012}", i)) } else { Sym::EMPTY };
        let p = Profile { account_id: st.intern("111122223333"), region: st.intern("us-east-1"), ..Default::default() };
        let o = Owner { agent_id: agent, session_id: session, ..Default::default() };
        b.batch.profiles.push(p); b.owners.push(o);
        let m = st.intern("claude");
        let minute = Micros((base + (i as i64 % 3)) * 60_000_000);
        let cost = PicoUsd(12_345_678 + i as i128);
        d.push(SpendDelta{minute, last_event: minute.plus(1), profile: i as u32, model: m, scope: Sym::EMPTY, sums: Sums{calls:1, cost, cost_max: cost, ..Default::default()}});
    }
    (b,d)
}
fn main() {
    let mk = |n: usize| { let mut t = String::new(); for k in 0..n { let w = ["rolling 1h","day","month","session","lifetime"][k%5]; let e = if w=="session" {"[\"agent_id\",\"session_id\"]"} else {"[\"agent_id\"]"}; t += &format!("[[budget]]\nname=\"b{k}\"\neach={e}\nlimit=\"1000 USD\"\nwindow=\"{w}\"\nwhere=\"team IS NULL AND agent_id LIKE 'agent-%'\"\n"); } t };
    let base = 1_790_812_800/60;
    let toml = mk(5);
    let mut l = Ledger::new(Arc::new(Budgets::parse(&toml).unwrap()), Arc::new(NoLimits));
    let (b,d) = feed(100_000, base, true);
    let before = rss();
    let t = std::time::Instant::now();
    l.apply(SpendView{batch:&b, deltas:&d}, Micros(base*60_000_000));
    println!("100k sessions x5 budgets: {:?} rss {} -> {} MB, counters {}", t.elapsed(), before, rss(), l.live_counters());
    let t = std::time::Instant::now(); let rows = l.take_dirty(); println!("take_dirty {} rows {:?} {} bytes", rows.len(), t.elapsed(), rows.iter().map(|(k,v)| k.len()+v.as_ref().map_or(0,Vec::len)).sum::<usize>());
    drop(rows);
    println!("rss {}", rss());
    let t = std::time::Instant::now(); let s = l.status(Micros(base*60_000_000)); println!("status {} {:?}", s.len(), t.elapsed()); drop(s);
    // steady: small batches
    let (b,d) = feed(1000, base+5, true);
    let t = std::time::Instant::now();
    for k in 0..100 { let mut d2 = d.clone(); for x in &mut d2 { x.minute = x.minute.plus(k*60_000_000); x.last_event = x.minute; } l.apply(SpendView{batch:&b, deltas:&d2}, Micros((base+k+6)*60_000_000)); l.take_dirty(); }
    println!("100 batches of 1000 deltas x5: {:?}", t.elapsed());
    let mut l = Ledger::new(Arc::new(Budgets::parse(&mk(50)).unwrap()), Arc::new(NoLimits));
    let t = std::time::Instant::now();
    for k in 0..20 { let mut d2 = d.clone(); for x in &mut d2 { x.minute = x.minute.plus(k*60_000_000); x.last_event = x.minute; } l.apply(SpendView{batch:&b, deltas:&d2}, Micros((base+k+6)*60_000_000)); l.take_dirty(); }
    println!("20 batches of 1000 deltas x50: {:?}", t.elapsed());
}
