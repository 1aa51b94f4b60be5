//! Lakes of other versions of the program: what an older one wrote is read and added to, what a newer one added is kept, and no column of
//! a table is ever taken away or given another type.

#[cfg(test)]
#[path = "lake_versions/columns.rs"]
mod columns;
#[cfg(test)]
#[path = "lake_versions/files.rs"]
mod files;
#[cfg(test)]
#[path = "lake_versions/stored.rs"]
mod stored;
