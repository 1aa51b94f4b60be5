//! The lake's protocol in a bucket: the same tests as in a folder, against moto, and a network that loses, delays and refuses.

#[cfg(test)]
#[path = "../../tests/live/fault_proxy.rs"]
mod fault_proxy;
#[cfg(test)]
#[path = "../../tests/live/servers.rs"]
mod servers;
#[cfg(test)]
#[path = "lake_protocol/support.rs"]
mod support;

#[cfg(test)]
#[path = "lake_protocol/compaction.rs"]
mod compaction;
#[cfg(test)]
#[path = "lake_protocol/faults.rs"]
mod faults;
#[cfg(test)]
#[path = "lake_s3/network.rs"]
mod network;
#[cfg(test)]
#[path = "lake_s3/objects.rs"]
mod objects;
#[cfg(test)]
#[path = "lake_protocol/round_trip.rs"]
mod round_trip;
#[cfg(test)]
#[path = "lake_protocol/writers.rs"]
mod writers;

/// The storage under test: a bucket.
#[cfg(test)]
mod storage {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, OnceLock};

    use sluice_aggregate::lake::{S3Objects, S3Settings};

    use super::servers::{self, Server};
    use super::support::Place;

    /// Edges between two that fail: moto answers about a hundred requests a second.
    pub(crate) const EDGE_STEP: usize = 11;

    /// Returns the URL of the server, which has the bucket `lakes`; `None` if live tests are not asked for.
    pub(crate) fn server() -> Option<&'static str> {
        static SERVER: OnceLock<Option<Server>> = OnceLock::new();
        let start = || {
            let server = servers::start("moto.sh")?;
            let address = server.url.trim_start_matches("http://");
            let mut stream = TcpStream::connect(address).unwrap();
            write!(stream, "PUT /lakes HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.contains(" 200 "), "{answer}");
            Some(server)
        };
        SERVER.get_or_init(start).as_ref().map(|server| server.url.as_str())
    }

    /// Returns a prefix of its own.
    pub(crate) fn new_url() -> String {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        format!("s3://lakes/some/lake-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn objects(endpoint: &str, url: &str) -> S3Objects {
        S3Objects::connect(url, &S3Settings { endpoint: Some(endpoint.to_owned()), ..S3Settings::default() }).unwrap()
    }

    pub(crate) fn place() -> Option<Place> {
        Some(Place { objects: Arc::new(objects(server()?, &new_url())), _folder: None })
    }
}
