//! A broker's registration, `/brokers/ids/<id>` (`BrokerIdZNode`).
//!
//! Version 1 is 0.8's, 2 adds endpoints (0.9), 4 the protocol of each listener (0.10.0), 5 features (2.7). Version 3 added
//! the rack alone and no release here writes it. Racks and listeners other than PLAINTEXT are left out.

use super::json::{decode, encode};
use bytes::Bytes;
use protocol::behaviour::{Behaviour, Era, InterBrokerProtocol};
use protocol::ids::Endpoint;
use protocol::time::Wall;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Serialize)]
struct BrokerV1<'a> {
    jmx_port: i32,
    timestamp: String,
    host: &'a str,
    version: i32,
    port: u16,
}

#[derive(Serialize)]
struct BrokerV2<'a> {
    jmx_port: i32,
    timestamp: String,
    endpoints: [String; 1],
    host: &'a str,
    version: i32,
    port: u16,
}

#[derive(Serialize)]
struct BrokerV4<'a> {
    listener_security_protocol_map: BTreeMap<&'a str, &'a str>,
    endpoints: [String; 1],
    jmx_port: i32,
    host: &'a str,
    timestamp: String,
    port: u16,
    version: i32,
}

#[derive(Serialize)]
struct BrokerV5<'a> {
    features: BTreeMap<&'a str, &'a str>,
    listener_security_protocol_map: BTreeMap<&'a str, &'a str>,
    endpoints: [String; 1],
    jmx_port: i32,
    port: u16,
    host: &'a str,
    version: i32,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    clean_shutdown: Option<bool>,
}

#[derive(Deserialize)]
struct AnyBroker {
    host: String,
    port: u16,
    #[serde(default)]
    timestamp: String,
    #[serde(default)]
    clean_shutdown: bool,
}

/// The version a broker of this behaviour writes.
pub fn version(behaviour: &Behaviour) -> i32 {
    let protocol = behaviour.inter_broker_protocol;
    if protocol >= InterBrokerProtocol::V2_7Iv0 {
        5
    } else if protocol >= InterBrokerProtocol::V0_10_0Iv1 {
        4
    } else if behaviour.era == Era::V0_8 || protocol < InterBrokerProtocol::V0_9_0 {
        1
    } else {
        2
    }
}

/// The registration of a broker that listens at `endpoint`, written at `now`. Whether the process before it stopped in good
/// order is a word of KIP-966: there the registration names the broker epoch that the file of a clean shutdown holds, which a
/// controller compares with the last one it knows; a controller that reads the cluster anew would know none.
pub fn encode_broker(
    behaviour: &Behaviour,
    endpoint: &Endpoint,
    after_clean_shutdown: bool,
    now: Wall,
) -> Bytes {
    let (host, port) = (&*endpoint.host, endpoint.port);
    let timestamp = now.millis().to_string();
    let endpoints = [format!("PLAINTEXT://{host}:{port}")];
    let listeners = BTreeMap::from([("PLAINTEXT", "PLAINTEXT")]);
    let version = version(behaviour);
    match version {
        1 => encode(&BrokerV1 {
            jmx_port: -1,
            timestamp,
            host,
            version,
            port,
        }),
        2 => encode(&BrokerV2 {
            jmx_port: -1,
            timestamp,
            endpoints,
            host,
            version,
            port,
        }),
        4 => encode(&BrokerV4 {
            listener_security_protocol_map: listeners,
            endpoints,
            jmx_port: -1,
            host,
            timestamp,
            port,
            version,
        }),
        _ => encode(&BrokerV5 {
            features: BTreeMap::new(),
            listener_security_protocol_map: listeners,
            endpoints,
            jmx_port: -1,
            port,
            host,
            version,
            timestamp,
            clean_shutdown: behaviour.keeps_eligible().then_some(after_clean_shutdown),
        }),
    }
}

/// Where the registered broker listens, whatever the version.
pub fn decode_broker(data: &[u8]) -> Option<Endpoint> {
    decode::<AnyBroker>(data).map(|json| Endpoint::new(json.host, json.port))
}

/// Whether a registration says that the process before it stopped in good order; who does not say so did not.
pub fn was_clean(data: &[u8]) -> bool {
    decode::<AnyBroker>(data).is_some_and(|json| json.clean_shutdown)
}

/// Whether two registrations say the same but for the time, by which 0.8 recognised its own
/// (`ZkUtils.registerBrokerInZk`'s checker compares host and port).
pub fn same_broker(one: &[u8], other: &[u8]) -> bool {
    match (decode::<AnyBroker>(one), decode::<AnyBroker>(other)) {
        (Some(one), Some(other)) => (one.host, one.port) == (other.host, other.port),
        (None, _) | (_, None) => false,
    }
}

/// The time stamp of a registration.
pub fn registered_at(data: &[u8]) -> Option<String> {
    decode::<AnyBroker>(data).map(|json| json.timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::behaviour::Fix;

    fn written(behaviour: Behaviour) -> String {
        let bytes = encode_broker(
            &behaviour,
            &Endpoint::new("b1", 9092),
            false,
            Wall::from_millis(1_625_472_322_427),
        );
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn each_release_writes_its_own_version() {
        assert_eq!(
            written(Behaviour::of(Era::V0_8)),
            r#"{"jmx_port":-1,"timestamp":"1625472322427","host":"b1","version":1,"port":9092}"#
        );
        assert_eq!(
            written(Behaviour::of(Era::V0_9)),
            r#"{"jmx_port":-1,"timestamp":"1625472322427","endpoints":["PLAINTEXT://b1:9092"],"host":"b1","version":2,"port":9092}"#
        );
        assert_eq!(
            written(Behaviour::of(Era::V1_0)),
            r#"{"listener_security_protocol_map":{"PLAINTEXT":"PLAINTEXT"},"endpoints":["PLAINTEXT://b1:9092"],"jmx_port":-1,"host":"b1","timestamp":"1625472322427","port":9092,"version":4}"#
        );
        assert_eq!(
            written(Behaviour::of(Era::V2_8)),
            r#"{"features":{},"listener_security_protocol_map":{"PLAINTEXT":"PLAINTEXT"},"endpoints":["PLAINTEXT://b1:9092"],"jmx_port":-1,"port":9092,"host":"b1","version":5,"timestamp":"1625472322427"}"#
        );
    }

    #[test]
    fn with_kip_966_it_says_how_the_process_before_ended() {
        let behaviour = Behaviour::of(Era::Sound).with(Fix::EligibleLeaderReplicas, true);
        let endpoint = Endpoint::new("b1", 9092);
        for clean in [true, false] {
            let data = encode_broker(&behaviour, &endpoint, clean, Wall::from_millis(1));
            assert_eq!(was_clean(&data), clean);
            assert_eq!(decode_broker(&data), Some(endpoint.clone()));
        }
        let silent = written(Behaviour::of(Era::Sound));
        assert!(!was_clean(silent.as_bytes()));
    }

    #[test]
    fn the_version_follows_the_inter_broker_protocol() {
        let upgrading = Behaviour::of(Era::V2_8).speaking(InterBrokerProtocol::V2_6Iv0);
        assert_eq!(version(&upgrading), 4);
    }

    #[test]
    fn every_version_tells_where_the_broker_listens() {
        for era in Era::ALL {
            let data = written(Behaviour::of(era));
            assert_eq!(
                decode_broker(data.as_bytes()),
                Some(Endpoint::new("b1", 9092))
            );
            assert_eq!(
                registered_at(data.as_bytes()).as_deref(),
                Some("1625472322427")
            );
            assert!(same_broker(data.as_bytes(), data.as_bytes()));
        }
        assert_eq!(decode_broker(b""), None);
    }
}
