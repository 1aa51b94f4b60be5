//! Forms and XML of AWS query services (SNS, IAM): as much of them as is needed.

use std::fmt::Write;

/// Escapes everything but unreserved characters of a URL.
#[must_use]
pub(crate) fn escape(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            write!(out, "%{byte:02X}").unwrap_or_default();
        }
        out
    })
}

/// A form under way.
#[derive(Debug, Default)]
pub(crate) struct Form(String);

impl Form {
    /// Begins a form that calls `action` of API `version`.
    pub(crate) fn new(action: &str, version: &str) -> Self {
        Self(format!("Action={action}&Version={version}"))
    }

    /// Adds a field.
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        self.0.push('&');
        self.0.push_str(name);
        self.0.push('=');
        self.0.push_str(&escape(value));
    }

    /// Returns its text.
    pub(crate) fn finish(self) -> String {
        self.0
    }
}

/// Returns what stands between the first `<name>` and its end; elements of that name do not lie within each other in these answers.
pub(crate) fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let open = format!("<{name}>");
    let inside = &xml[xml.find(&open)? + open.len()..];
    inside.find(&format!("</{name}>")).map(|end| &inside[..end])
}

/// Returns the content of each `<member>` of a list.
pub(crate) fn members(list: &str) -> impl Iterator<Item = &str> {
    list.split("<member>").skip(1).filter_map(|rest| rest.split("</member>").next())
}

/// Returns the text of an element, unescaped.
pub(crate) fn text(xml: &str, name: &str) -> Option<String> {
    let raw = element(xml, name)?;
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('&') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let known = [("&lt;", '<'), ("&gt;", '>'), ("&quot;", '"'), ("&apos;", '\''), ("&#39;", '\''), ("&amp;", '&')];
        match known.iter().find(|(entity, _)| from.starts_with(entity)) {
            Some((entity, char)) => {
                out.push(*char);
                rest = &from[entity.len()..];
            }
            None => {
                out.push('&');
                rest = &from[1..];
            }
        }
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_escaped() {
        let mut form = Form::new("Publish", "2010-03-31");
        form.add("Message", "a b&c=é\n");
        assert_eq!(form.finish(), "Action=Publish&Version=2010-03-31&Message=a%20b%26c%3D%C3%A9%0A");
    }

    #[test]
    fn answers_are_read() {
        let xml = "<R><L><member><Id>1</Id><M>a &lt;b&gt; &amp;amp; &x</M></member><member><Id>2</Id></member></L><Empty/></R>";
        let list: Vec<_> = members(element(xml, "L").unwrap()).map(|member| (text(member, "Id").unwrap(), text(member, "M"))).collect();
        assert_eq!(list, [("1".to_owned(), Some("a <b> &amp; &x".to_owned())), ("2".to_owned(), None)]);
        assert_eq!((element(xml, "None"), element("<L>", "L"), element(xml, "Empty")), (None, None, None));
    }
}
