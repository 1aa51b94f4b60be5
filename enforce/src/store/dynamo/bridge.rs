//! Lets threads without a runtime call the asynchronous SDK.
//!
//! The runtime has one thread of its own; callers wait on a channel, so it does not matter whether they are inside another
//! runtime.

use std::future::Future;
use std::sync::mpsc::sync_channel;

use tokio::runtime::{Builder, Runtime};

/// A runtime that is called from outside.
#[derive(Debug)]
pub(super) struct Bridge {
    /// Absent only while it is dropped.
    runtime: Option<Runtime>,
}

impl Bridge {
    /// Starts the thread.
    pub(super) fn start(name: &str) -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Runs a call to its end; `None` if it panicked.
    pub(super) fn call<T: Send + 'static>(&self, call: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let (answer, answered) = sync_channel(1);
        self.runtime.as_ref()?.handle().spawn(async move {
            // The caller waits below; if it could not, nobody would want the answer.
            drop(answer.send(call.await));
        });
        answered.recv().ok()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // The ordinary way waits, which is not allowed inside another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn can_be_called_and_dropped_inside_another_runtime() {
        let outer = Builder::new_current_thread().build().unwrap();
        outer.block_on(async {
            let bridge = Bridge::start("inner").unwrap();
            assert_eq!(bridge.call(async { 7 }), Some(7));
            assert_eq!(bridge.call(async { panic!("inside") }), None::<()>);
            assert_eq!(bridge.call(async { 8 }), Some(8));
        });
    }
}
