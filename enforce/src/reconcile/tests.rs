//! The reconciler against a service in memory.
