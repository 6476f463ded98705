use super::*;
use crate::model::task_definition::LogConfiguration;
use crate::model::task_definition::logging::LogSettings;
use crate::runtime::logs::line::Stream;
use std::io::Read;

const AT: Timestamp = Timestamp(1_762_142_706_123);

fn encoder(driver: &str, pairs: &[(&str, &str)]) -> Encoder {
    let configuration = LogConfiguration {
        log_driver: Some(driver.into()),
        options: Some(pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()),
        ..LogConfiguration::default()
    };
    let settings = LogSettings::read(Some(&configuration), &BTreeMap::new()).unwrap();
    let subject = Subject {
        id: "0123456789ab".into(),
        full_id: "0123456789abcdef-1".into(),
        name: "web".into(),
        image_name: "busybox".into(),
        host: "box".into(),
        ..Subject::default()
    };
    let attrs = BTreeMap::from([("com.x/tier".to_owned(), "a\nb".to_owned())]);
    Encoder::new(&settings.driver, &subject, &attrs).unwrap()
}

fn line(text: &str) -> Piece<'_> {
    Piece { stream: Stream::Stdout, text: text.as_bytes(), number: 0, last: true }
}

fn one(encoder: &Encoder, piece: &Piece<'_>) -> Vec<u8> {
    let mut message = encoder.encode(piece, AT);
    assert_eq!(message.len(), 1);
    message.remove(0).into_vec()
}

#[test]
fn syslog_has_the_forms_of_its_rfcs() {
    let pid = std::process::id();
    let text = |pairs: &[(&str, &str)], stream| {
        let piece = Piece { stream, ..line("hello\n") };
        String::from_utf8(one(&encoder("syslog", pairs), &piece)).unwrap()
    };
    let tcp = ("syslog-address", "tcp://h:1");
    let udp = ("syslog-address", "udp://h:1");
    assert_eq!(
        text(&[udp], Stream::Stdout),
        format!("<30>Nov  3 04:05:06 0123456789ab[{pid}]: hello")
    );
    assert_eq!(
        text(&[tcp, ("syslog-format", "rfc3164"), ("tag", "a b")], Stream::Stderr),
        format!("<27>Nov  3 04:05:06 box a_b[{pid}]: hello\n")
    );
    assert_eq!(
        text(&[udp, ("syslog-format", "rfc5424"), ("syslog-facility", "local7")], Stream::Stdout),
        format!("<190>1 2025-11-03T04:05:06Z box 0123456789ab {pid} 0123456789ab - hello")
    );
    assert_eq!(
        text(&[udp, ("syslog-format", "rfc5424micro"), ("tag", "t")], Stream::Stdout),
        format!("<30>1 2025-11-03T04:05:06.123000Z box t {pid} t - hello")
    );
}

#[test]
fn journal_fields_hold_any_value() {
    let message = one(&encoder("journald", &[("tag", "{{.Name}}")]), &line("hi\n"));
    let text = String::from_utf8_lossy(&message);
    assert!(text.starts_with("MESSAGE=hi\nPRIORITY=6\n"), "{text}");
    assert!(text.contains("\nCONTAINER_NAME=web\nCONTAINER_TAG=web\nIMAGE_NAME=busybox\n"));
    let binary = b"COM_X_TIER\n\x03\0\0\0\0\0\0\0a\nb\n";
    assert!(message.windows(binary.len()).any(|w| w == binary), "{text}");
    let part = Piece { last: false, ..line("part") };
    let message = one(&encoder("journald", &[]), &part);
    assert!(String::from_utf8_lossy(&message).contains("\nCONTAINER_PARTIAL_MESSAGE=true\n"));
}

#[test]
fn a_fluentd_event_is_tag_time_and_record() {
    let message = one(
        &encoder("fluentd", &[("tag", "t"), ("fluentd-sub-second-precision", "1")]),
        &line("hi\n"),
    );
    let mut expected = vec![0x93, 0xa1, b't', 0xd7, 0x00];
    expected.extend(1_762_142_706_u32.to_be_bytes());
    expected.extend(123_000_000_u32.to_be_bytes());
    expected.push(0x85);
    assert_eq!(message[..expected.len()], expected);
    assert!(message.ends_with(b"\xa6source\xa6stdout\xa3log\xa2hi"));
    let message = one(&encoder("fluentd", &[]), &line(&"x".repeat(300)));
    assert_eq!(message[14], 0xd3);
    assert!(message.windows(3).any(|w| w == [0xda, 0x01, 0x2c]));
}

#[test]
fn a_gelf_message_that_is_too_large_comes_in_chunks() {
    let options = [("gelf-address", "udp://h:1"), ("gelf-compression-type", "none")];
    let message = encoder("gelf", &options).encode(&line(&"y".repeat(5000)), AT);
    assert!(message.len() > 3);
    let mut whole = Vec::new();
    for (at, chunk) in message.iter().enumerate() {
        assert!(chunk.len() <= 1420);
        assert_eq!(chunk[..2], [0x1e, 0x0f]);
        assert_eq!(chunk[2..10], message[0][2..10]);
        assert_eq!((usize::from(chunk[10]), usize::from(chunk[11])), (at, message.len()));
        whole.extend_from_slice(&chunk[12..]);
    }
    let json: serde_json::Value = serde_json::from_slice(&whole).unwrap();
    assert_eq!(json["short_message"].as_str().unwrap().len(), 5000);
    assert_eq!(json["timestamp"], 1_762_142_706.123);
    assert_eq!(json["_com.x_tier"], "a\nb");
    assert_eq!(
        (&json["version"], &json["host"], &json["level"]),
        (&"1.1".into(), &"box".into(), &6.into())
    );
}

#[test]
fn gelf_is_compressed_over_udp_and_ends_with_zero_over_tcp() {
    let message = one(&encoder("gelf", &[("gelf-address", "udp://h:1")]), &line("hi\n"));
    let mut json = String::new();
    flate2::read::GzDecoder::new(&*message).read_to_string(&mut json).unwrap();
    assert!(json.contains(r#""short_message":"hi""#), "{json}");
    let encoder = encoder("gelf", &[("gelf-address", "tcp://h:1")]);
    assert!(one(&encoder, &line("hi")).ends_with(b"}\0"));
    assert!(encoder.encode(&line("\n"), AT).is_empty());
}
