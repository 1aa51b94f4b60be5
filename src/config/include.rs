//! `include`: several texts that are one configuration.
//!
//! Array tables (`[[budget]]`, `[[notify]]`, …) of one text follow those of the other; every other key has one place, and set twice it is
//! a fault. Relative places in an included text are relative to that text.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::reader::Reader;
use super::{Location, paths};

/// Name of the key.
const KEY: &str = "include";
/// Most texts of one configuration.
const TEXTS_MAX: usize = 64;

/// Reads a text and all that it includes, and lays them into one table; faults are appended to `faults`. A table comes back where there is
/// none of them.
pub(super) fn gather(root: &Location, reader: &mut Reader, faults: &mut Vec<String>) -> Option<Table> {
    let before = faults.len();
    let mut gathered = Gathered { table: Table::new(), places: BTreeMap::new(), texts: Vec::new() };
    gathered.take(root, None, reader, faults);
    (faults.len() == before).then_some(gathered.table)
}

struct Gathered {
    table: Table,
    /// Where each key was set first.
    places: BTreeMap<String, Location>,
    texts: Vec<Location>,
}

impl Gathered {
    fn take(&mut self, location: &Location, by: Option<&Location>, reader: &mut Reader, faults: &mut Vec<String>) {
        if self.texts.contains(location) {
            faults.push(format!("include: {location} is included twice"));
            return;
        }
        if self.texts.len() == TEXTS_MAX {
            faults.push(format!("include: more than {TEXTS_MAX} texts"));
            return;
        }
        self.texts.push(location.clone());
        // What concerns the one text that was named needs no name.
        let told = |fault: String| by.map_or(fault.clone(), |_| format!("{location}: {fault}"));
        let text = match reader.read(location) {
            Ok(text) => text,
            Err(error) => {
                let from = by.map(|by| format!("include of {by}: ")).unwrap_or_default();
                faults.push(format!("{from}{}", error.problem));
                return;
            }
        };
        let mut table: Table = match text.parse() {
            Ok(table) => table,
            Err(error) => {
                faults.push(told(syntax(&text, &error)));
                return;
            }
        };
        let included = included(&mut table, location).unwrap_or_else(|fault| {
            faults.push(told(fault));
            Vec::new()
        });
        if by.is_some() {
            paths::settle(&mut table, location, &mut |fault| faults.push(told(fault)));
        }
        merge(&mut self.table, table, "", location, &mut self.places, faults);
        for other in included {
            self.take(&other, Some(location), reader, faults);
        }
    }
}

/// Says where a text is no TOML, and why; not the line itself, which may hold a secret and would stand in the log of a daemon.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let (line, last) = (before.matches('\n').count() + 1, before.rsplit('\n').next().unwrap_or_default());
    format!("no TOML at line {line}, column {}: {}", last.chars().count() + 1, error.message().replace('\n', " "))
}

/// Takes the key out of a table.
fn included(table: &mut Table, location: &Location) -> Result<Vec<Location>, String> {
    let Some(value) = table.remove(KEY) else { return Ok(Vec::new()) };
    let shape = || format!("{KEY}: a list of places, as in {KEY} = [\"budgets.toml\", \"ssm:/sluice/budgets\"]");
    let Value::Array(list) = value else { return Err(shape()) };
    let read = |value: &Value| location.beside(value.as_str().ok_or_else(shape)?).map_err(|error| format!("{KEY}: {error}"));
    list.iter().map(read).collect()
}

fn merge(
    into: &mut Table,
    from: Table,
    prefix: &str,
    location: &Location,
    places: &mut BTreeMap<String, Location>,
    faults: &mut Vec<String>,
) {
    for (key, value) in from {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match (into.get_mut(&key), value) {
            (None, Value::Table(table)) => {
                let mut fresh = Table::new();
                merge(&mut fresh, table, &name, location, places, faults);
                into.insert(key, Value::Table(fresh));
            }
            (None, value) => {
                places.insert(name, location.clone());
                into.insert(key, value);
            }
            (Some(Value::Table(before)), Value::Table(table)) => merge(before, table, &name, location, places, faults),
            (Some(Value::Array(before)), Value::Array(more)) if is_of_tables(before) && is_of_tables(&more) => before.extend(more),
            (Some(_), _) => {
                let first = places.get(&name).map(|first| format!(" in {first}")).unwrap_or_default();
                faults.push(format!("{name}: is set{first} and again in {location}: a key has one place"));
            }
        }
    }
}

fn is_of_tables(array: &[Value]) -> bool {
    !array.is_empty() && array.iter().all(Value::is_table)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn read(folder: &Path, files: &[(&str, &str)]) -> Result<Table, Vec<String>> {
        for (name, text) in files {
            fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
            fs::write(folder.join(name), text).unwrap();
        }
        let (mut reader, mut faults) = (Reader::default(), Vec::new());
        let table = gather(&Location::File(folder.join("main.toml")), &mut reader, &mut faults);
        if let Some(table) = table {
            assert_eq!(reader.edition().documents.len(), files.len());
            return Ok(table);
        }
        Err(faults)
    }

    #[test]
    fn array_tables_follow_each_other_and_paths_stay_beside_their_text() {
        let folder = tempfile::tempdir().unwrap();
        let table = read(
            folder.path(),
            &[
                ("main.toml", "include = ['more/budgets.toml']\n[lake]\npath = 'lake'\n[[budget]]\nname = 'a'\n"),
                (
                    "more/budgets.toml",
                    "include = ['../last.toml']\n[lake]\nstate = 'x.redb'\n[[budget]]\nname = 'b'\n[[notify]]\npath = 'told'\n",
                ),
                ("last.toml", "[enrich]\nagents_file = 'agents.toml'\n[[enrich.discount]]\npercent = '1'\n"),
            ],
        )
        .unwrap();
        let names: Vec<&str> = table["budget"].as_array().unwrap().iter().map(|budget| budget["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(table["lake"]["path"].as_str(), Some("lake"));
        let beside = |name: &str| folder.path().join("more").join(name).display().to_string();
        assert_eq!(table["lake"]["state"].as_str(), Some(beside("x.redb").as_str()));
        assert_eq!(table["notify"][0]["path"].as_str(), Some(beside("told").as_str()));
        assert!(table["enrich"]["agents_file"].as_str().unwrap().ends_with("more/../agents.toml"));
        assert!(!table.contains_key(KEY));
    }

    #[test]
    fn every_fault_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let faults = read(folder.path(), &[("main.toml", "include = ['a.toml', 'none.toml', 'b.toml', 'ssm:x']\n")]).unwrap_err();
        assert!(faults.len() == 1 && faults[0].contains("ssm:x"), "{faults:?}");
        let faults = read(
            folder.path(),
            &[
                ("main.toml", "include = ['a.toml', 'none.toml', 'b.toml', 'a.toml']\n[files]\npaths = []\nworkers = 1\n"),
                ("a.toml", "[files]\nworkers = 2\npaths = ['x']\n"),
                ("b.toml", "[files\n"),
            ],
        )
        .unwrap_err();
        for words in [
            "files.workers: is set in",
            "files.paths: is set",
            "none.toml",
            "b.toml: no TOML at line 1, column 7: ",
            "a.toml is included twice",
        ] {
            assert!(faults.iter().any(|fault| fault.contains(words)), "{words}: {faults:#?}");
        }
        assert_eq!(faults.len(), 5, "{faults:#?}");
        assert_eq!(read(folder.path(), &[("main.toml", "include = 'a.toml'\n")]).unwrap_err().len(), 1);
        assert_eq!(read(folder.path(), &[("main.toml", "include = ['main.toml']\n")]).unwrap_err().len(), 1);
    }
}
