//! `SLUICE__SECTION__KEY=value` from the environment over what the file says.

/// Applies every variable that begins with `SLUICE__`; values are read as TOML and, failing that, as plain text.
///
/// # Errors
/// The name of a variable that does not fit the file's shape.
pub(crate) fn apply(table: &mut toml::Table, variables: impl Iterator<Item = (String, String)>) -> Result<(), String> {
    let mut ours: Vec<_> = variables.filter(|(name, _)| name.starts_with("SLUICE__")).collect();
    ours.sort();
    for (name, value) in ours {
        let path: Vec<String> = name.split("__").skip(1).map(str::to_ascii_lowercase).collect();
        let Some((key, sections)) = path.split_last().filter(|(key, _)| !key.is_empty()) else {
            return Err(format!("environment variable {name} names no key: write SLUICE__SECTION__KEY"));
        };
        let mut at = &mut *table;
        for section in sections {
            let entry = at.entry(section.clone()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            let toml::Value::Table(inner) = entry else {
                return Err(format!("environment variable {name}: '{section}' is not a section"));
            };
            at = inner;
        }
        let parsed = format!("value = {value}").parse::<toml::Table>().ok().and_then(|mut table| table.remove("value"));
        at.insert(key.clone(), parsed.unwrap_or(toml::Value::String(value)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(text: &str, variables: &[(&str, &str)]) -> Result<toml::Table, String> {
        let mut table = text.parse().unwrap();
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        apply(&mut table, variables).map(|()| table)
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let table =
            applied("[lake]\npath = 'a'", &[("SLUICE__LAKE__PATH", "/b"), ("SLUICE__FILES__PATHS", "['x']"), ("HOME", "/")]).unwrap();
        assert_eq!(table["lake"]["path"].as_str(), Some("/b"));
        assert_eq!(table["files"]["paths"][0].as_str(), Some("x"));
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn a_variable_that_fits_nowhere_is_named() {
        assert!(applied("lake = 1", &[("SLUICE__LAKE__PATH", "b")]).unwrap_err().contains("SLUICE__LAKE__PATH"));
        assert!(applied("", &[("SLUICE__", "b")]).is_err());
    }
}
