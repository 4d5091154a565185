//! With the template engine and docker's functions.
//!
//! The template engine sorts keys, as Go does for maps; docker prints structures in their own order. So each object
//! that goes into the engine is remembered with its text, and `json` gives that text back.

use super::super::failure::Failure;
use super::super::ordered::Node;
use super::super::table;
use super::JsonStyle;
use crate::utils::json;
use gotmpl::{MissingKey, Template, TemplateError, Value};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// Fields whose older name the original keeps, with docker's name.
const OTHER_NAMES: &[(&str, &str)] =
    &[("CPUShares", "CpuShares"), ("CPUPeriod", "CpuPeriod"), ("CPUQuota", "CpuQuota")];

/// JSON texts by the address of the engine's value.
type Texts = Arc<Mutex<HashMap<usize, String>>>;

/// A parsed `--format`.
pub struct Format {
    template: Template,
    table: bool,
    texts: Texts,
}

impl Format {
    /// Parses `TEMPLATE`, `table TEMPLATE`, `json`. `\t` and `\n` stand for what they mean.
    ///
    /// # Errors
    /// Exit code 125 with what is wrong.
    pub fn parse(text: &str, style: JsonStyle) -> Result<Format, Failure> {
        let (table, body) = match text.strip_prefix("table ") {
            Some(body) => (true, body.trim_start()),
            None => (false, text),
        };
        let body =
            if body == "json" { "{{json .}}".to_owned() } else { body.replace("\\t", "\t").replace("\\n", "\n") };
        let texts = Texts::default();
        let known = texts.clone();
        let template = Template::new("")
            .missing_key(MissingKey::Error)
            .func("json", move |args| Ok(text_value(json_text(argument(args, 0)?, &known, style))))
            .func("join", |args| Ok(text_value(join(argument(args, 0)?, &string(args, 1)?))))
            .func("split", |args| {
                let (text, by) = (string(args, 0)?, string(args, 1)?);
                Ok(Value::List(text.split(by.as_str()).map(|s| text_value(s.to_owned())).collect()))
            })
            .func("lower", |args| Ok(text_value(string(args, 0)?.to_lowercase())))
            .func("upper", |args| Ok(text_value(string(args, 0)?.to_uppercase())))
            .func("title", |args| Ok(text_value(title(&string(args, 0)?))))
            .func("truncate", |args| {
                let length = argument(args, 1)?.as_int().and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
                Ok(text_value(string(args, 0)?.chars().take(length).collect()))
            })
            .func("pad", |args| {
                let spaces = |i| argument(args, i).map(|v| v.as_int().unwrap_or(0).clamp(0, 1000) as usize);
                let text = string(args, 0)?;
                let filled = if text.is_empty() {
                    text
                } else {
                    [" ".repeat(spaces(1)?), text, " ".repeat(spaces(2)?)].concat()
                };
                Ok(text_value(filled))
            })
            .parse(&body)
            .map_err(|e| Failure::usage(format!("Template parsing error: {e}")))?;
        Ok(Format { template, table, texts })
    }

    /// Fills the template in.
    ///
    /// # Errors
    /// Exit code 1: a field that does not exist, a function on the wrong type.
    pub fn render(&self, node: &Node) -> Result<String, Failure> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let value = self.value(node);
        self.template.execute_to_string(&value).map_err(|e| Failure::local(format!("Template parsing error: {e}")))
    }

    /// Fills the template in for each row, with a head and aligned columns for `table …`. `titles` are the fields and
    /// their heads.
    ///
    /// # Errors
    /// Exit code 1 for a field that does not exist, in the words of the original.
    pub fn render_rows(&self, titles: &[(&str, &str)], rows: &[Node]) -> Result<String, Failure> {
        let unknown = |f: Failure| Failure::local(format!("invalid format field: {}", f.text));
        let mut lines = Vec::new();
        if self.table {
            let head = Node::texts(titles.iter().map(|(field, title)| (*field, (*title).to_owned())));
            lines.push(self.render(&head).map_err(unknown)?);
        }
        for row in rows {
            lines.push(self.render(row).map_err(unknown)?);
        }
        let mut out = if self.table { table::tabulate(&lines) } else { lines.join("\n") };
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        Ok(out)
    }

    fn value(&self, node: &Node) -> Value {
        let (value, address) = match node {
            Node::Null => return Value::Nil,
            Node::Bool(v) => return Value::Bool(*v),
            Node::Int(v) => return Value::Int(*v),
            Node::Uint(v) => return Value::Uint(*v),
            Node::Float(v) => return Value::Float(*v),
            Node::Text(v) => return text_value(v.clone()),
            Node::List(items) => {
                let list: Arc<[Value]> = items.iter().map(|i| self.value(i)).collect();
                let address = list.as_ptr() as usize;
                (Value::List(list), address)
            }
            Node::Object(fields) => {
                let mut map: BTreeMap<Arc<str>, Value> = BTreeMap::new();
                for (key, field) in fields {
                    let value = self.value(field);
                    if let Some((_, other)) = OTHER_NAMES.iter().find(|(name, _)| name == key) {
                        map.insert(Arc::from(*other), value.clone());
                    }
                    map.insert(Arc::from(key.as_str()), value);
                }
                let map = Arc::new(map);
                let address = Arc::as_ptr(&map) as usize;
                (Value::Map(map), address)
            }
        };
        self.texts.lock().unwrap_or_else(PoisonError::into_inner).insert(address, json::to_text(node));
        value
    }
}

fn text_value(text: String) -> Value {
    Value::String(text.into())
}

fn argument(args: &[Value], index: usize) -> Result<&Value, TemplateError> {
    args.get(index).ok_or_else(|| TemplateError::Exec("wrong number of args".into()))
}

fn string(args: &[Value], index: usize) -> Result<String, TemplateError> {
    Ok(argument(args, index)?.to_string())
}

fn join(list: &Value, by: &str) -> String {
    match list {
        Value::List(items) => items.iter().map(Value::to_string).collect::<Vec<_>>().join(by),
        other => other.to_string(),
    }
}

fn title(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

fn json_text(value: &Value, known: &Texts, style: JsonStyle) -> String {
    let address = match value {
        Value::List(list) if !list.is_empty() => list.as_ptr() as usize,
        Value::Map(map) => Arc::as_ptr(map) as usize,
        _ => 0,
    };
    let remembered = known.lock().unwrap_or_else(PoisonError::into_inner).get(&address).cloned();
    let compact = remembered.unwrap_or_else(|| json::to_text(&node(value)));
    style.lay_out(compact)
}

/// A value that the template itself made.
fn node(value: &Value) -> Node {
    match value {
        Value::Bool(v) => Node::Bool(*v),
        Value::Int(v) => Node::Int(*v),
        Value::Uint(v) => Node::Uint(*v),
        Value::Float(v) => Node::Float(*v),
        Value::String(v) => Node::Text(v.to_string()),
        Value::List(items) => Node::List(items.iter().map(node).collect()),
        Value::Map(map) => Node::Object(map.iter().map(|(k, v)| (k.to_string(), node(v))).collect()),
        _ => Node::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> Node {
        json::parse(
            br#"{"Name":"a","State":{"Status":"running","Running":true,"Pid":7},"HostConfig":{"CPUShares":3,"Binds":[]},
                "Config":{"Env":["A=1","B=2"],"Labels":{"x.y":"z"}},"Mounts":null}"#,
        )
        .unwrap()
    }

    #[test]
    fn templates_print_as_go_prints_them() {
        for (template, want) in [
            ("{{.State.Status}} {{.State.Running}}", "running true"),
            ("{{json .State}}", r#"{"Status":"running","Running":true,"Pid":7}"#),
            ("{{json .State.Status}}", "\"running\""),
            ("{{json .HostConfig}}", r#"{"CPUShares":3,"Binds":[]}"#),
            ("{{.HostConfig.CPUShares}}={{.HostConfig.CpuShares}}", "3=3"),
            ("{{json .HostConfig.Binds}}{{json .Mounts}}", "[]null"),
            ("{{range .Config.Env}}{{println .}}{{end}}", "A=1\nB=2\n"),
            ("{{index .Config.Labels \"x.y\"}}", "z"),
            ("{{join .Config.Env \",\"}}", "A=1,B=2"),
            ("{{len .Config.Env}}", "2"),
            ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
            (
                "{{.Name | upper | printf \"%5s\"}}|{{title .Name}}|{{truncate .State.Status 3}}|{{pad .Name 1 2}}|",
                "    A|A|run| a  |",
            ),
            ("{{index (split \"a:b\" \":\") 1}}", "b"),
            ("a\\tb", "a\tb"),
            ("{{.Config.Env}}", "[A=1 B=2]"),
            ("{{with $x := .State}}{{$x.Pid}}{{end}}", "7"),
        ] {
            let format = Format::parse(template, JsonStyle::Compact).unwrap();
            assert_eq!(format.render(&container()).unwrap(), want, "{template}");
        }
        let pretty = Format::parse("{{json .State}}", JsonStyle::Pretty).unwrap().render(&container()).unwrap();
        assert_eq!(pretty, "{\n    \"Status\": \"running\",\n    \"Running\": true,\n    \"Pid\": 7\n}");
    }

    #[test]
    fn mistakes_are_failures() {
        let syntax = Format::parse("{{.a", JsonStyle::Compact).err().unwrap();
        assert_eq!(syntax.code, 125);
        for template in ["{{.Nosuch}}", "{{.State.Nosuch.X}}", "{{json}}", "{{index .Config.Env 9}}"] {
            let format = Format::parse(template, JsonStyle::Compact).unwrap();
            assert_eq!(format.render(&container()).unwrap_err().code, 1, "{template}");
        }
    }

    #[test]
    fn rows_and_tables() {
        let titles = [("ID", "CONTAINER ID"), ("Names", "NAMES")];
        let row = |id: &str, name: &str| Node::texts([("ID", id.to_owned()), ("Names", name.to_owned())]);
        let rows = [row("1", "one"), row("22", "two")];
        let print = |template: &str, rows: &[Node]| {
            Format::parse(template, JsonStyle::Compact).unwrap().render_rows(&titles, rows).unwrap()
        };
        assert_eq!(print("{{.ID}} {{.Names}}", &rows), "1 one\n22 two\n");
        assert_eq!(print("{{.ID}}", &[]), "");
        assert_eq!(print("json", &rows[..1]), "{\"ID\":\"1\",\"Names\":\"one\"}\n");
        assert_eq!(
            print("table {{.ID}}\\t{{.Names}}", &rows),
            "CONTAINER ID   NAMES\n1              one\n22             two\n"
        );
        assert_eq!(print("table {{.ID}}\\t{{.Names}}", &[]), "CONTAINER ID   NAMES\n");
        let failure = Format::parse("{{.X}}", JsonStyle::Compact).unwrap().render_rows(&titles, &rows).unwrap_err();
        assert!(failure.text.starts_with("invalid format field"));
    }
}
