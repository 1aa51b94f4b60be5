//! The promises of the storage below a lake, each for itself, where the network does what networks do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sluice_aggregate::lake::{LakeError, Objects, Put, S3Objects, S3Settings};
use sluice_schemas::ErrorClass;

use super::fault_proxy::{Answer, Fault, FaultProxy, Request};
use super::storage::{new_url, objects, server};

fn refusal(status: u16, code: &str) -> Answer {
    let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>injected</Message></Error>");
    Answer { status, content_type: "application/xml", body }
}

/// Lets `fault` happen to the first `times` requests that `concerns` them.
fn at_first(times: u64, fault: Fault, concerns: impl Fn(&Request) -> bool + Send + Sync) -> impl Fn(&Request) -> Fault + Send + Sync {
    let count = AtomicU64::new(0);
    move |request| if concerns(request) && count.fetch_add(1, Ordering::Relaxed) < times { fault.clone() } else { Fault::Pass }
}

fn is_put(request: &Request) -> bool {
    request.method == "PUT"
}

#[test]
fn what_is_put_comes_back() {
    let Some(server) = server() else { return };
    let objects = objects(server, &new_url());
    assert_eq!(objects.get("a/b").unwrap(), None);
    assert_eq!(objects.size("a/b").unwrap(), None);
    assert_eq!(objects.list("a").unwrap(), []);
    assert_eq!(objects.put_if_absent("a/b", b"one").unwrap(), Put::Created);
    assert_eq!(objects.put_if_absent("a/b", b"two").unwrap(), Put::Exists);
    assert_eq!(objects.put_if_absent("a/b", b"one").unwrap(), Put::Exists, "even of the same bytes");
    assert_eq!(objects.get("a/b").unwrap().unwrap(), b"one");
    objects.put("a/b", b"three").unwrap();
    assert_eq!((objects.size("a/b").unwrap(), objects.get_range("a/b", 1, 3).unwrap()), (Some(5), b"hre".to_vec()));
    assert_eq!(objects.get_range("a/b", 2, 0).unwrap(), b"");
    assert!(objects.get_range("a/b", 3, 9).is_err() && objects.get_range("a/b", 9, 1).is_err() && objects.get_range("a/c", 0, 1).is_err());
    objects.put("a/dt=2026-10-01/part%20of another.parquet", b"").unwrap();
    let names: Vec<(String, u64, bool)> =
        objects.list("a").unwrap().into_iter().map(|entry| (entry.name, entry.bytes, entry.folder)).collect();
    assert_eq!(names, [("b".to_owned(), 5, false), ("dt=2026-10-01".to_owned(), 0, true)]);
    assert_eq!(objects.list("a/dt=2026-10-01").unwrap()[0].name, "part%20of another.parquet");
    assert_eq!(objects.list("").unwrap()[0].name, "a");
    objects.delete("a/b").unwrap();
    objects.delete("a/b").unwrap();
    assert_eq!(objects.get("a/b").unwrap(), None);
}

#[test]
fn long_listings_come_in_pages() {
    let Some(server) = server() else { return };
    let objects = objects(server, &new_url());
    for number in 0..1_005 {
        objects.put(&format!("many/{number:05}"), b"").unwrap();
    }
    let found = objects.list("many").unwrap();
    assert_eq!(found.len(), 1_005);
    assert!(found.is_sorted_by(|a, b| a.name < b.name));
}

#[test]
fn large_objects_are_sent_in_parts() {
    let Some(server) = server() else { return };
    let url = new_url();
    let whole: Vec<u8> = (0..37_000_000_u32).map(|at| (at ^ (at >> 9)) as u8).collect();
    // The last call is carried out and its answer lost: the parts are gone then, and the object is there.
    let completes = |request: &Request| request.method == "POST" && request.path.contains("uploadId");
    let proxy = FaultProxy::start(server, at_first(1, Fault::AnswerLost, completes));
    for endpoint in [server, &proxy.url] {
        let objects = objects(endpoint, &url);
        let mut staged = objects.stage("large").unwrap();
        for piece in whole.chunks(3_000_001) {
            staged.append(piece).unwrap();
        }
        assert_eq!(objects.list("").unwrap().len(), usize::from(endpoint != server), "nothing is seen before the end");
        staged.finish().unwrap();
        assert_eq!(objects.size("large").unwrap(), Some(37_000_000));
        assert!(objects.get("large").unwrap().unwrap() == whole);
        // One that is abandoned leaves nothing.
        drop(objects.stage("abandoned").unwrap());
        assert_eq!(objects.get("abandoned").unwrap(), None);
    }
    assert_eq!(proxy.faults(), 1);
}

#[test]
fn its_own_success_is_told_from_anothers() {
    let Some(server) = server() else { return };
    let faults = [
        Fault::AnswerLost,
        Fault::Lost,
        Fault::After(refusal(503, "SlowDown")),
        Fault::After(refusal(500, "InternalError")),
        Fault::Instead(refusal(503, "SlowDown")),
        Fault::Instead(refusal(409, "ConditionalRequestConflict")),
        Fault::After(refusal(409, "ConditionalRequestConflict")),
        Fault::Instead(refusal(400, "RequestTimeout")),
    ];
    for fault in faults {
        let url = new_url();
        let proxy = FaultProxy::start(server, at_first(3, fault.clone(), is_put));
        let through = objects(&proxy.url, &url);
        assert_eq!(through.put_if_absent("log/0", b"mine").unwrap(), Put::Created, "{fault:?}");
        let proxy = FaultProxy::start(server, at_first(3, fault.clone(), is_put));
        let through = objects(&proxy.url, &url);
        assert_eq!(through.put_if_absent("log/0", b"mine too").unwrap(), Put::Exists, "{fault:?}");
        assert_eq!(through.get("log/0").unwrap().unwrap(), b"mine", "{fault:?}");
    }
}

/// The answer never comes: after the time-out the request is sent again and finds its own success.
#[test]
fn an_answer_that_never_comes_is_no_loss() {
    let Some(server) = server() else { return };
    let proxy = FaultProxy::start(server, at_first(1, Fault::Stalled, is_put));
    assert_eq!(objects(&proxy.url, &new_url()).put_if_absent("log/0", b"mine").unwrap(), Put::Created);
    assert_eq!(proxy.faults(), 1);
}

#[test]
fn one_of_many_gets_the_name() {
    let Some(server) = server() else { return };
    let url = new_url();
    // In every third answer the connection breaks.
    let count = AtomicU64::new(0);
    let proxy = FaultProxy::start(server, move |_| match count.fetch_add(1, Ordering::Relaxed) % 3 {
        0 => Fault::AnswerLost,
        _ => Fault::Pass,
    });
    let writers: Vec<Arc<S3Objects>> = (0..16).map(|_| Arc::new(objects(&proxy.url, &url))).collect();
    let winners: Vec<usize> = std::thread::scope(|scope| {
        let create = |(number, writer): (usize, &Arc<S3Objects>)| {
            let created = writer.put_if_absent("log/0", format!("entry of {number}").as_bytes()).unwrap() == Put::Created;
            created.then_some(number)
        };
        let threads: Vec<_> = writers.iter().enumerate().map(|each| scope.spawn(move || create(each))).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(writers[0].get("log/0").unwrap().unwrap(), format!("entry of {}", winners[0]).into_bytes());
}

#[test]
fn what_a_person_has_to_change_is_named() {
    let Some(server) = server() else { return };
    for (status, code, words) in [
        (403, "AccessDenied", "allow s3:PutObject on arn:aws:s3:::lakes"),
        (404, "NoSuchBucket", "make the bucket"),
        (400, "ExpiredToken", "have expired"),
        (403, "InvalidAccessKeyId", "access key"),
        (301, "PermanentRedirect", "another region"),
    ] {
        let proxy = FaultProxy::start(server, move |_| Fault::Instead(refusal(status, code)));
        let error = objects(&proxy.url, &new_url()).put_if_absent("log/0", b"mine").unwrap_err();
        let text = error.to_string();
        assert_eq!(error.class(), ErrorClass::Misconfigured, "{text}");
        assert!(text.contains(words) && text.contains("s3://lakes/some/lake-"), "{text}");
    }
    let nobody = objects("http://127.0.0.1:9", &new_url()).get("x").unwrap_err();
    assert_eq!(nobody.class(), ErrorClass::Transient, "{nobody}");
    for wrong in ["s3://", "s3:///x", "s3://bucket/a//b", "s3://bucket/../b"] {
        assert!(matches!(S3Objects::connect(wrong, &S3Settings::default()), Err(LakeError::Remote { .. })), "{wrong}");
    }
}
