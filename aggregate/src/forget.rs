//! A person's name taken out of stored rows: another one stands in its place, and every number stays.
//!
//! Owns: what counts as the name, which rows name it, how they read afterwards. Does not own: which tables are gone through, and when.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, MapArray, StringArray, StructArray};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use hashbrown::HashSet;

/// Shortest name that is searched for everywhere: shorter ones stand in too many words.
const SHORTEST: usize = 3;

/// Why a person cannot be told from the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PersonError {
    /// A role, a group, a service: nobody's name.
    #[error("'{0}' names no person: give the ARN of a user or of a role session, or the name alone")]
    NoPerson(String),
    /// Too short, or more than a name.
    #[error("'{0}' is no name: give at least {SHORTEST} characters, without spaces, as AWS records it")]
    NoName(String),
    /// The name in its place would be found again, or be taken for part of an ARN.
    #[error("'{0}' cannot stand for a name: letters, digits and hyphens, and not the name itself")]
    Alias(String),
}

/// Whose name is taken out, and what stands in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    name: String,
    /// Rows are the person's if this ARN stands in them; absent where the name alone tells.
    arn: Option<String>,
    alias: String,
    /// What may stand before a name without being part of it, as `ccwb-`.
    prefixes: Vec<String>,
    /// Requests whose calls were the person's, for tables that name no principal.
    requests: HashSet<String>,
}

impl Person {
    /// Reads the ARN of a user or a role session, or a name. An e-mail address is one person's wherever it stands; another name is only in
    /// rows of its ARN, where one was given.
    ///
    /// # Errors
    /// See [`PersonError`].
    pub fn parse(text: &str, alias: &str) -> Result<Self, PersonError> {
        let name = match text.strip_prefix("arn:") {
            None => text,
            Some(_) => {
                let resource = text.splitn(6, ':').nth(5).unwrap_or_default();
                let parts: Vec<&str> = resource.split('/').collect();
                match parts.as_slice() {
                    ["user", .., name] | ["assumed-role", _, name] | ["federated-user", name] => *name,
                    _ => return Err(PersonError::NoPerson(text.to_owned())),
                }
            }
        };
        if name.len() < SHORTEST || name.chars().any(char::is_whitespace) || name.contains(['/', ':', '"', '\\']) {
            return Err(PersonError::NoName(name.to_owned()));
        }
        let is_plain = alias.chars().all(|char| char.is_ascii_alphanumeric() || char == '-');
        if alias.is_empty() || !is_plain || alias.contains(name) {
            return Err(PersonError::Alias(alias.to_owned()));
        }
        let by_row = text.starts_with("arn:") && !name.contains('@');
        let arn = by_row.then(|| text.to_owned());
        Ok(Self { name: name.to_owned(), arn, alias: alias.to_owned(), prefixes: Vec::new(), requests: HashSet::new() })
    }

    /// Finds the name behind these texts, too.
    #[must_use]
    pub fn behind(self, prefixes: &[String]) -> Self {
        Self { prefixes: prefixes.to_vec(), ..self }
    }

    /// Returns a new text to stand for a name: nothing leads from one to the other.
    #[must_use]
    pub fn any_alias() -> String {
        let id = crate::lake::random_id();
        format!("forgotten-{}", &id[..8])
    }

    /// What stands in the name's place.
    #[must_use]
    pub fn alias(&self) -> &str {
        &self.alias
    }

    /// Tells whether a text names the person.
    #[must_use]
    pub fn is_named_in(&self, text: &str) -> bool {
        places(text, self.arn.as_deref().unwrap_or(&self.name), &self.prefixes).next().is_some()
    }

    /// Returns the columns of some rows with the name taken out; `None` where none of them is the person's.
    ///
    /// # Errors
    /// The columns are not those of the schema.
    pub fn edit(&mut self, schema: &SchemaRef, columns: &[ArrayRef]) -> Result<Option<Vec<ArrayRef>>, ArrowError> {
        let rows = columns.first().map_or(0, |column| column.len());
        let requests =
            schema.column_with_name("request_id").and_then(|(at, _)| columns.get(at)).and_then(|column| column.as_string_opt::<i32>());
        let mut concerned = vec![false; rows];
        for column in columns {
            mark(column, &mut concerned, &|text| self.is_named_in(text));
        }
        if let Some(requests) = requests.filter(|_| self.arn.is_some()) {
            for (row, concerned) in concerned.iter_mut().enumerate().filter(|(row, _)| requests.is_valid(*row)) {
                let request = requests.value(row);
                if *concerned {
                    self.requests.insert(request.to_owned());
                } else {
                    *concerned = self.requests.contains(request);
                }
            }
        }
        if !concerned.contains(&true) {
            return Ok(None);
        }
        let mut changed = false;
        let mut edited = Vec::with_capacity(columns.len());
        for column in columns {
            let new = self.column(column, &concerned)?;
            changed |= new.is_some();
            edited.push(new.unwrap_or_else(|| Arc::clone(column)));
        }
        // A row that is the person's by its request alone may have nothing to take out, as one that was edited before.
        Ok(changed.then_some(edited))
    }

    /// Returns a column with the name taken out of some rows; `None` if it does not stand there.
    fn column(&self, column: &ArrayRef, concerned: &[bool]) -> Result<Option<ArrayRef>, ArrowError> {
        let is_here = |row: usize| concerned.get(row) == Some(&true);
        if let Some(texts) = column.as_string_opt::<i32>() {
            return Ok(self.texts(texts, is_here).map(|texts| Arc::new(texts) as ArrayRef));
        }
        if let Some(bytes) = column.as_binary_opt::<i32>() {
            // What was refused is kept as it came; with a name in it it cannot be.
            let names = |row: usize| is_here(row) && bytes.is_valid(row) && self.is_in_bytes(bytes.value(row));
            if !(0..bytes.len()).any(names) {
                return Ok(None);
            }
            let kept = (0..bytes.len()).map(|row| (bytes.is_valid(row) && !names(row)).then(|| bytes.value(row)));
            return Ok(Some(Arc::new(kept.collect::<BinaryArray>())));
        }
        let Some(map) = column.as_map_opt() else { return Ok(None) };
        let Some(values) = map.values().as_string_opt::<i32>() else { return Ok(None) };
        let mut of_rows = vec![false; values.len()];
        for (_, stretch) in map.value_offsets().windows(2).enumerate().filter(|(row, _)| is_here(*row)) {
            of_rows.iter_mut().take(stretch[1] as usize).skip(stretch[0] as usize).for_each(|of_row| *of_row = true);
        }
        let Some(values) = self.texts(values, |at| of_rows.get(at) == Some(&true)) else { return Ok(None) };
        let fields = map.entries().fields().clone();
        let entries = StructArray::try_new(fields, vec![Arc::clone(map.keys()), Arc::new(values)], map.entries().nulls().cloned())?;
        let arrow::datatypes::DataType::Map(field, ordered) = map.data_type() else { return Ok(None) };
        let edited = MapArray::try_new(Arc::clone(field), map.offsets().clone(), entries, map.nulls().cloned(), *ordered)?;
        Ok(Some(Arc::new(edited)))
    }

    fn texts(&self, texts: &StringArray, is_here: impl Fn(usize) -> bool) -> Option<StringArray> {
        let names =
            |row: usize| is_here(row) && texts.is_valid(row) && places(texts.value(row), &self.name, &self.prefixes).next().is_some();
        if !(0..texts.len()).any(names) {
            return None;
        }
        let text = |row: usize| names(row).then(|| self.replaced(texts.value(row)));
        let old = |row: usize| texts.is_valid(row).then(|| texts.value(row).to_owned());
        Some((0..texts.len()).map(|row| text(row).or_else(|| old(row))).collect())
    }

    fn replaced(&self, text: &str) -> String {
        let (mut out, mut from) = (String::with_capacity(text.len()), 0);
        for at in places(text, &self.name, &self.prefixes) {
            out.push_str(&text[from..at]);
            out.push_str(&self.alias);
            from = at + self.name.len();
        }
        out.push_str(&text[from..]);
        out
    }

    fn is_in_bytes(&self, bytes: &[u8]) -> bool {
        bytes.windows(self.name.len()).any(|window| window == self.name.as_bytes())
    }
}

/// Marks the rows in whose texts something stands.
fn mark(column: &ArrayRef, rows: &mut [bool], stands_in: &dyn Fn(&str) -> bool) {
    if let Some(texts) = column.as_string_opt::<i32>() {
        for (row, marked) in rows.iter_mut().enumerate() {
            *marked |= texts.is_valid(row) && stands_in(texts.value(row));
        }
    } else if let Some(bytes) = column.as_binary_opt::<i32>() {
        for (row, marked) in rows.iter_mut().enumerate() {
            *marked |= bytes.is_valid(row) && stands_in(&String::from_utf8_lossy(bytes.value(row)));
        }
    } else if let Some(map) = column.as_map_opt()
        && let Some(values) = map.values().as_string_opt::<i32>()
    {
        for (stretch, marked) in map.value_offsets().windows(2).zip(rows) {
            *marked |= (stretch[0] as usize..stretch[1] as usize).any(|at| values.is_valid(at) && stands_in(values.value(at)));
        }
    }
}

/// Iterates over the places where a name stands by itself: `jane` does not stand in `jane.doe` or in `mary-jane`.
fn places<'a>(text: &'a str, name: &'a str, prefixes: &'a [String]) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(name).filter_map(move |(at, _)| {
        let before = prefixes.iter().find_map(|prefix| text[..at].strip_suffix(prefix.as_str())).unwrap_or(&text[..at]);
        let after = &text[at + name.len()..];
        (is_apart(before.chars().rev()) && is_apart(after.chars())).then_some(at)
    })
}

/// Tells whether a name ends where these characters begin.
fn is_apart(mut next: impl Iterator<Item = char>) -> bool {
    let goes_on = |char: char| char.is_alphanumeric() || matches!(char, '_' | '@' | '+' | '%');
    match next.next() {
        Some(char) if goes_on(char) => false,
        // A full stop ends a sentence, or joins two parts of a name.
        Some('.' | '-') => !next.next().is_some_and(goes_on),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, MapBuilder, StringBuilder};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    #[test]
    fn a_name_is_found_where_it_stands_by_itself() {
        let jane = "jane@example.com";
        let person = Person::parse(jane, "X").unwrap().behind(&["ccwb-".to_owned()]);
        let found = |text: &str| person.replaced(text);
        for (text, after) in [
            (jane, "X"),
            ("arn:aws:sts::1:assumed-role/R/jane@example.com", "arn:aws:sts::1:assumed-role/R/X"),
            ("AROAX:jane@example.com", "AROAX:X"),
            (r#"{"user":"jane@example.com","n":1}"#, r#"{"user":"X","n":1}"#),
            ("session_id=jane@example.com,team=a", "session_id=X,team=a"),
            ("R/ccwb-jane@example.com", "R/ccwb-X"),
            ("told by jane@example.com.", "told by X."),
            ("jane@example.com jane@example.com", "X X"),
        ] {
            assert_eq!(found(text), after);
        }
        for other in
            ["mary.jane@example.com", "mary-jane@example.com", "jane@example.com.au", "jane@example.community", "maryjane@example.com"]
        {
            assert_eq!(found(other), other, "somebody else");
        }
    }

    #[test]
    fn who_is_meant_is_told_by_arn_or_name() {
        let person = |text: &str| Person::parse(text, "gone-1").map(|person| (person.name, person.arn.is_some()));
        assert_eq!(person("jane@example.com"), Ok(("jane@example.com".to_owned(), false)));
        assert_eq!(person("arn:aws:sts::111122223333:assumed-role/R/jane@example.com"), Ok(("jane@example.com".to_owned(), false)));
        assert_eq!(person("arn:aws:sts::111122223333:assumed-role/R/worker"), Ok(("worker".to_owned(), true)));
        assert_eq!(person("arn:aws:iam::111122223333:user/team/jane"), Ok(("jane".to_owned(), true)));
        assert!(matches!(person("arn:aws:iam::111122223333:role/R"), Err(PersonError::NoPerson(_))));
        assert!(matches!(person("jo"), Err(PersonError::NoName(_))));
        assert!(matches!(person("jane doe"), Err(PersonError::NoName(_))));
        assert!(matches!(Person::parse("jane", "gone:1"), Err(PersonError::Alias(_))));
        assert!(matches!(Person::parse("jane", "not-jane"), Err(PersonError::Alias(_))));
    }

    fn rows(arns: &[&str], names: &[&str], requests: &[&str]) -> (SchemaRef, Vec<ArrayRef>) {
        let mut tags = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        for name in names {
            tags.keys().append_value("user");
            tags.values().append_value(name);
            tags.append(true).unwrap();
        }
        let tags = tags.finish();
        let raw: BinaryArray = names.iter().map(|name| Some(format!("raw {name}").into_bytes())).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(arns.to_vec())),
            Arc::new(StringArray::from(names.to_vec())),
            Arc::new(StringArray::from(requests.to_vec())),
            Arc::new(Int64Array::from_iter_values(0..arns.len() as i64)),
            Arc::new(tags.clone()),
            Arc::new(raw),
        ];
        let fields = vec![
            Field::new("principal_arn", DataType::Utf8, true),
            Field::new("role_session_name", DataType::Utf8, true),
            Field::new("request_id", DataType::Utf8, true),
            Field::new("n", DataType::Int64, true),
            Field::new("tags", tags.data_type().clone(), true),
            Field::new("raw", DataType::Binary, true),
        ];
        (Arc::new(Schema::new(fields)), columns)
    }

    #[test]
    fn texts_tags_and_refused_bytes_lose_the_name_and_numbers_stay() {
        let arn = |role: &str| format!("arn:aws:sts::111122223333:assumed-role/{role}/worker");
        let (red, blue) = (arn("Red"), arn("Blue"));
        let (schema, columns) = rows(&[&red, &blue, &red], &["worker", "worker", "other"], &["r1", "r2", "r3"]);
        let mut person = Person::parse(&red, "gone-1").unwrap();
        let edited = person.edit(&schema, &columns).unwrap().unwrap();
        let text = |column: usize, row: usize| edited[column].as_string::<i32>().value(row).to_owned();
        assert_eq!(
            [text(0, 0), text(0, 1), text(0, 2)],
            [arn("Red").replace("worker", "gone-1"), blue.clone(), arn("Red").replace("worker", "gone-1")]
        );
        assert_eq!([text(1, 0), text(1, 1), text(1, 2)], ["gone-1", "worker", "other"], "the same name in another role is somebody else");
        let tags = edited[4].as_map();
        let tag = |row: usize| tags.value(row).column(1).as_string::<i32>().value(0).to_owned();
        assert_eq!([tag(0), tag(1)], ["gone-1", "worker"]);
        assert_eq!([edited[5].is_null(0), edited[5].is_null(1), edited[5].is_null(2)], [true, false, false]);
        assert_eq!(&edited[3], &columns[3]);
        // Nothing is left to take out.
        assert!(person.edit(&schema, &edited).unwrap().is_none());
        // Rows that name no principal are the person's by their request.
        let (schema, columns) = rows(&["", ""], &["worker", "worker"], &["r1", "r2"]);
        let edited = person.edit(&schema, &columns).unwrap().unwrap();
        let names = edited[1].as_string::<i32>();
        assert_eq!([names.value(0), names.value(1)], ["gone-1", "worker"]);
    }
}
