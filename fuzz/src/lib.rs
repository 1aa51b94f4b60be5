//! What the fuzz targets do with bytes. The project's own tests include the same files and run them on mutations of the samples.

// The configuration belongs to the binary, which no other crate can depend on.
#[expect(dead_code, unused_imports, reason = "only reading it is looked at")]
#[path = "../../src/config/mod.rs"]
mod config;
#[cfg(feature = "lake")]
pub mod lake;
pub mod targets;

/// Reads a file as the configuration and tells whether it is one.
fn read_config(file: &std::path::Path) -> bool {
    let origin = config::Origin { file: Some(file.to_owned()), lake: None };
    match config::Config::load(&origin) {
        Ok(config) => !config.show().is_empty(),
        Err(error) => error.to_string().is_empty(),
    }
}
