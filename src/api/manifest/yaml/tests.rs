use super::{read, write};
use proptest::prelude::*;
use serde_json::{Value, json};

fn one(text: &str) -> Value {
    let mut documents = read(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(documents.len(), 1, "{text}");
    documents.remove(0)
}

#[test]
fn scalars_keep_their_meaning() {
    let text = "
        whole: 256
        negative: -3
        fraction: 0.5
        version: 1.10
        account: 000000000000
        mode: 0644
        hex: 0x1F
        plus: +1
        large: 99999999999999999999
        not: .nan
        yes: yes
        switch: on
        truth: True
        nothing: ~
        empty:
        quoted: '1'
        url: http://x:80/a#b
        8080: port
        script: |
          a
            b
        folded: >-
          c
          d
        tagged: !!str 5
        int: !!int '7'
    ";
    assert_eq!(
        one(text),
        json!({
            "whole": 256, "negative": -3, "fraction": 0.5, "version": "1.10", "account": "000000000000",
            "mode": "0644", "hex": "0x1F", "plus": "+1", "large": "99999999999999999999", "not": ".nan",
            "yes": "yes", "switch": "on", "truth": true, "nothing": null, "empty": null, "quoted": "1",
            "url": "http://x:80/a#b", "8080": "port", "script": "a\n  b\n", "folded": "c d", "tagged": "5",
            "int": 7
        })
    );
}

#[test]
fn documents_anchors_and_merges() {
    let text = "--- \na: &base {x: 1, y: [&v 2, *v]}\nb:\n  <<: *base\n  x: 3\nc: {<<: [{z: 1}, *base]}\n--- # nothing\n---\n[1, two]\n...\n";
    let documents = read(text).unwrap();
    assert_eq!(
        documents,
        [
            json!({"a": {"x": 1, "y": [2, 2]}, "b": {"x": 3, "y": [2, 2]}, "c": {"z": 1, "x": 1, "y": [2, 2]}}),
            Value::Null,
            json!([1, "two"]),
        ]
    );
    assert_eq!(read("").unwrap(), Vec::<Value>::new());
    assert_eq!(one("{\"a\": [1, null, \"\\u00e9\"]}"), json!({"a": [1, null, "é"]}));
}

#[test]
fn errors_tell_where() {
    let cases = [
        ("a: 1\na: 2\n", "line 2, column 4: \"a\" is there twice"),
        ("a: !Ref b\n", "line 1, column 4: the tag \"!Ref\" cannot be used here: leave it out"),
        ("? [1]\n: 2\n", "line 1, column 3: a key must be a text"),
        ("a: &x [*x]\n", "an alias stands inside of what it repeats"),
        ("<<: 1\n", "line 1, column 5: << takes an object or a list of objects"),
        ("a: !!int x\n", "\"x\" is not a whole number"),
        ("a: *nobody\n", "line 1"),
        ("a: [1\n", "line "),
        ("a: b: c\n", "line 1"),
    ];
    for (text, expected) in cases {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
    }
}

#[test]
fn a_few_lines_cannot_stand_for_billions() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..20 {
        let before = format!("*a{}", level - 1);
        let line = format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(", "));
        bomb.push_str(&line);
    }
    assert!(read(&bomb).unwrap_err().to_string().contains("more than 200000 values"));
    let deep = "- ".repeat(5000);
    assert!(read(&deep).unwrap_err().to_string().contains("nested more than 100 deep"));
    assert!(read(&"[".repeat(5000)).is_err());
}

#[test]
fn what_is_written_is_easy_to_read() {
    let value = json!({
        "cpu": "256", "family": "web", "tags": [], "none": null, "on": true,
        "containerDefinitions": [
            {"image": "nginx:1.27", "name": "web", "command": ["sh", "-c", "a\nb\n"], "memory": 64},
            {"name": "yes", "nested": [[1, 2], []]}
        ]
    });
    let text = "\
family: web
containerDefinitions:
  - name: web
    command:
      - sh
      - \"-c\"
      - |
        a
        b
    image: nginx:1.27
    memory: 64
  - name: \"yes\"
    nested:
      - - 1
        - 2
      - []
cpu: \"256\"
none: null
\"on\": true
tags: []
";
    assert_eq!(write(&[value]), text);
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{0,4}",
        "\\PC{0,12}",
        any::<Vec<char>>().prop_map(|chars| chars.into_iter().take(8).collect()),
        "[ \t\n#:a'\"-]{0,8}",
        "[0-9+.e_x~-]{1,5}",
        "([a-z #:-]{0,6}\n){0,3}[a-z]{0,3}",
        Just("null".to_owned()),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|n| json!(n)),
        (-1000_i32..1000).prop_map(|n| json!(f64::from(n) / 8.0)),
        any_text().prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(any_text(), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(documents in prop::collection::vec(any_value(), 1..3)) {
        let text = write(&documents);
        let read = read(&text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
        prop_assert_eq!(read, documents, "{}", text);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in any_text(), more in any_text()) {
        let _ = read(&format!("{text}: {more}"));
        let _ = read(&text);
    }
}
