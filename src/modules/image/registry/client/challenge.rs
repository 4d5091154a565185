//! `WWW-Authenticate` (RFC 9110, 11.6.1): what a registry wants to see.

/// A scheme and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    /// Lower case.
    pub scheme: String,
    /// Names in lower case.
    parameters: Vec<(String, String)>,
}

impl Challenge {
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// The challenges of one header; several may share it. What cannot be read is passed over.
pub(super) fn parse(text: &str) -> Vec<Challenge> {
    let mut list: Vec<Challenge> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let Some(first) = rest.chars().next() else { return list };
        let (word, after) = rest.split_at(rest.find(|c| !is_token(c)).unwrap_or(rest.len()));
        if word.is_empty() {
            rest = &rest[first.len_utf8()..];
            continue;
        }
        match after.trim_start().strip_prefix('=') {
            Some(value) => {
                let (value, behind) = parameter_value(value.trim_start());
                if let Some(challenge) = list.last_mut() {
                    challenge.parameters.push((word.to_ascii_lowercase(), value));
                }
                rest = behind;
            }
            None => {
                list.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
                rest = after;
            }
        }
    }
}

/// A token or a quoted string, and what stands behind it.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_at(text.find([',', ' ', '\t']).unwrap_or(text.len()));
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in quoted.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => {
                escaped = true;
                continue;
            }
            '"' => return (value, &quoted[at + 1..]),
            _ => {}
        }
        value.push(c);
    }
    (value, "")
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_and_several() {
        let text = r#"Bearer realm="https://auth.test/token?x=1,2",service="a \"b\"" , scope=repository:a/b:pull,Basic realm=x"#;
        let list = parse(text);
        assert_eq!(list.iter().map(|c| c.scheme.as_str()).collect::<Vec<_>>(), ["bearer", "basic"]);
        assert_eq!(list[0].parameter("realm"), Some("https://auth.test/token?x=1,2"));
        assert_eq!(list[0].parameter("service"), Some("a \"b\""));
        assert_eq!(list[0].parameter("scope"), Some("repository:a/b:pull"));
        assert_eq!(list[0].parameter("error"), None);
        assert_eq!(list[1].parameter("realm"), Some("x"));
        assert_eq!(parse("BASIC")[0].scheme, "basic");
        assert_eq!(parse("Negotiate YWJj==, Basic Realm = \"y\"").last().unwrap().parameter("realm"), Some("y"));
    }

    #[test]
    fn nonsense_gives_nothing_and_ends() {
        for text in ["", ",", "=", "\"", "a=b", "é", "==,,\"x", "\u{7f}"] {
            assert!(parse(text).iter().all(|c| c.parameters.is_empty()), "{text:?}");
        }
        assert_eq!(parse("Bearer realm=\"never closed")[0].parameter("realm"), Some("never closed"));
    }
}
