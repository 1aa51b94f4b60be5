//! Answers of query services such as IAM, STS and SNS: a small tree of elements.
//!
//! Foreign bytes: a document type, an unknown entity or deep nesting is refused.

use xmlparser::{ElementEnd, Token, Tokenizer};

/// Deepest nesting; answers of IAM have seven levels.
const MAX_DEPTH: usize = 32;

/// An answer that is no such XML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is no XML of a query service: {detail}")]
pub struct XmlError {
    /// What is wrong.
    pub detail: String,
}

/// An element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name, without a prefix.
    pub name: String,
    /// Its text, without that of its children.
    pub text: String,
    /// The elements in it.
    pub children: Vec<Node>,
}

impl Node {
    /// Reads a document.
    ///
    /// # Errors
    /// It is not well formed, or not of the plain kind that query services answer with.
    pub fn parse(text: &str) -> Result<Self, XmlError> {
        let wrong = |detail: String| XmlError { detail };
        let mut open: Vec<Self> = vec![Self::default()];
        for token in Tokenizer::from(text) {
            match token.map_err(|error| wrong(error.to_string()))? {
                Token::ElementStart { local, .. } if open.len() <= MAX_DEPTH => {
                    open.push(Self { name: local.as_str().to_owned(), ..Self::default() });
                }
                Token::ElementStart { .. } => return Err(wrong(format!("more than {MAX_DEPTH} levels"))),
                Token::ElementEnd { end: ElementEnd::Open, .. } => {}
                Token::ElementEnd { end: ElementEnd::Empty, .. } => close(&mut open, None)?,
                Token::ElementEnd { end: ElementEnd::Close(_, name), .. } => close(&mut open, Some(name.as_str()))?,
                Token::Text { text } => top(&mut open)?.text.push_str(&unescape(text.as_str())?),
                Token::Cdata { text, .. } => top(&mut open)?.text.push_str(text.as_str()),
                Token::Declaration { .. } | Token::Comment { .. } | Token::ProcessingInstruction { .. } | Token::Attribute { .. } => {}
                Token::DtdStart { .. } | Token::EmptyDtd { .. } | Token::EntityDeclaration { .. } | Token::DtdEnd { .. } => {
                    return Err(wrong("a document type".to_owned()));
                }
            }
        }
        let (Some(mut document), true) = (open.pop(), open.is_empty()) else { return Err(wrong("it ends within an element".to_owned())) };
        document.children.pop().ok_or_else(|| wrong("no element".to_owned()))
    }

    /// Returns the first child of a name.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// Returns the text of the element that a path of names leads to; empty where there is none.
    #[must_use]
    pub fn text_at(&self, path: &[&str]) -> &str {
        let found = path.iter().try_fold(self, |node, name| node.child(name));
        found.map_or("", |node| node.text.trim())
    }

    /// Returns the members of the list of a name.
    #[must_use]
    pub fn members(&self, name: &str) -> &[Self] {
        self.child(name).map_or(&[], |list| &list.children)
    }
}

fn top(open: &mut [Node]) -> Result<&mut Node, XmlError> {
    open.last_mut().ok_or_else(|| XmlError { detail: "an element ends that never began".to_owned() })
}

fn close(open: &mut Vec<Node>, name: Option<&str>) -> Result<(), XmlError> {
    let unbegun = || XmlError { detail: "an element ends that never began".to_owned() };
    let node = if open.len() > 1 { open.pop() } else { None }.ok_or_else(unbegun)?;
    if name.is_some_and(|name| name != node.name) {
        return Err(XmlError { detail: format!("<{}> is not closed", node.name) });
    }
    top(open)?.children.push(node);
    Ok(())
}

/// Puts in what the five entities of XML and numbers of characters stand for.
fn unescape(text: &str) -> Result<String, XmlError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let unknown = || XmlError { detail: format!("an entity that is none: &{}", after.chars().take(12).collect::<String>()) };
        let (entity, after) = after.split_once(';').ok_or_else(unknown)?;
        let number = |digits: &str| match digits.strip_prefix('x') {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => digits.parse().ok(),
        };
        let character = match entity {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            _ => entity.strip_prefix('#').and_then(number).and_then(char::from_u32),
        };
        out.push(character.ok_or_else(unknown)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// Returns text as it stands in an element.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_as_iam_gives_them() {
        let xml = r#"<?xml version="1.0"?><GetRoleResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><GetRoleResult><Role>
            <Path>/a&amp;b/</Path><Description><![CDATA[x < y]]></Description><Tags/></Role></GetRoleResult></GetRoleResponse>"#;
        let root = Node::parse(xml).unwrap();
        let role = ["GetRoleResult", "Role"];
        assert_eq!(root.name, "GetRoleResponse");
        assert_eq!(root.text_at(&[&role[..], &["Path"]].concat()), "/a&b/");
        assert_eq!(root.text_at(&[&role[..], &["Description"]].concat()), "x < y");
        assert_eq!(root.text_at(&[&role[..], &["RoleId"]].concat()), "");
        assert_eq!(Node::parse("<a>&#65;&#x42;&lt;</a>").unwrap().text, "AB<");
        assert_eq!(Node::parse(&format!("<a>{}</a>", escape("<&>"))).unwrap().text, "<&>");
    }

    #[test]
    fn what_is_refused() {
        let deep = "<a>".repeat(40);
        for text in ["", "<a>", "<a></b>", "</a>", "<a>&b;</a>", "<a>&#xD800;</a>", "<a>&", r#"<!DOCTYPE a [<!ENTITY b "c">]><a/>"#, &deep]
        {
            assert!(Node::parse(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(text in ".{0,80}", inner in "[<>/a&;#x0-9 ]{0,40}") {
            drop(Node::parse(&text));
            drop(Node::parse(&format!("<a>{inner}</a>")));
        }
    }
}
