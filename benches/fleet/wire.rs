//! One connection of a box to the broker: TCP, TLS with the box's certificate, and packets of MQTT 3.1.1.

use bytes::BytesMut;
use coracle::auth::fleet::{Enrolment, PrivateKey};
use rumqttc::mqttbytes::v4::{
    Connect, ConnectReturnCode, LastWill, Packet, PubAck, Publish, Subscribe, SubscribeFilter,
};
use rumqttc::mqttbytes::{Error, QoS};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// The largest packet that is read or written.
const LARGEST: usize = 256 << 10;
/// Silence after which the broker gives a box up, in seconds; the box says something in each half of it.
pub(crate) const KEEP_ALIVE: u16 = 60;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Where the broker is, and how a box proves itself there.
#[derive(Clone)]
pub(crate) struct Way {
    address: String,
    tls: Option<(ServerName<'static>, Arc<rustls::ClientConfig>)>,
}

/// What all boxes share.
pub(crate) struct Shared {
    roots: Arc<rustls::RootCertStore>,
    provider: Arc<rustls::crypto::CryptoProvider>,
}

impl Shared {
    pub(crate) fn new(enrolment: &Enrolment) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        let pem = enrolment.broker_authorities.clone().unwrap_or_default();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Self { roots: Arc::new(roots), provider }
    }
}

impl Way {
    pub(crate) fn new(shared: &Shared, enrolment: &Enrolment, key: &PrivateKey) -> Self {
        let (scheme, address) = enrolment.broker.split_once("://").unwrap();
        let address = address.to_owned();
        if scheme == "mqtt" {
            return Self { address, tls: None };
        }
        let certificate = CertificateDer::from(enrolment.certificate.der().to_vec());
        let key = PrivatePkcs8KeyDer::from(key.pkcs8().to_vec());
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&shared.provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(Arc::clone(&shared.roots))
            .with_client_auth_cert(vec![certificate], key.into())
            .unwrap();
        config.resumption = Resumption::in_memory_sessions(2);
        let host = address.rsplit_once(':').unwrap().0.to_owned();
        Self { address, tls: Some((ServerName::try_from(host).unwrap(), Arc::new(config))) }
    }
}

pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    inbound: BytesMut,
    outbound: BytesMut,
    packet: u16,
}

/// A failed connection, in words.
pub(crate) type Lost = String;

fn lost(error: impl std::fmt::Display) -> Lost {
    error.to_string()
}

impl Connection {
    /// Connects with a last will, keeping the session that the broker may have.
    pub(crate) async fn open(
        way: &Way,
        client: &str,
        will: (String, Vec<u8>),
    ) -> Result<Self, Lost> {
        let tcp = TcpStream::connect(&way.address).await.map_err(lost)?;
        tcp.set_nodelay(true).map_err(lost)?;
        let stream: Box<dyn Stream> = match &way.tls {
            None => Box::new(tcp),
            Some((name, config)) => {
                let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
                Box::new(connector.connect(name.clone(), tcp).await.map_err(lost)?)
            }
        };
        let (inbound, outbound) = (BytesMut::new(), BytesMut::new());
        let mut connection = Self { stream, inbound, outbound, packet: 0 };
        let mut connect = Connect::new(client);
        connect.keep_alive = KEEP_ALIVE;
        connect.clean_session = false;
        connect.last_will = Some(LastWill::new(will.0, will.1, QoS::AtLeastOnce, true));
        connection.queue(&Packet::Connect(connect));
        connection.flush().await?;
        match connection.next().await? {
            Packet::ConnAck(answer) if answer.code == ConnectReturnCode::Success => Ok(connection),
            other => Err(format!("{other:?} in answer to CONNECT")),
        }
    }

    /// The next packet. Nothing is lost when this is given up.
    pub(crate) async fn next(&mut self) -> Result<Packet, Lost> {
        loop {
            match Packet::read(&mut self.inbound, LARGEST) {
                Ok(packet) => return Ok(packet),
                Err(Error::InsufficientBytes(_)) => {}
                Err(error) => return Err(lost(error)),
            }
            if self.stream.read_buf(&mut self.inbound).await.map_err(lost)? == 0 {
                return Err("the broker hung up".to_owned());
            }
        }
    }

    fn queue(&mut self, packet: &Packet) {
        packet.write(&mut self.outbound, LARGEST).unwrap();
    }

    fn number(&mut self) -> u16 {
        self.packet = self.packet % u16::MAX + 1;
        self.packet
    }

    pub(crate) fn subscribe(&mut self, filters: Vec<String>) {
        let filters = filters.into_iter().map(|path| SubscribeFilter::new(path, QoS::AtLeastOnce));
        let mut subscribe = Subscribe::new_many(filters);
        subscribe.pkid = self.number();
        self.queue(&Packet::Subscribe(subscribe));
    }

    pub(crate) fn unsubscribe(&mut self, topic: String) {
        let mut unsubscribe = rumqttc::mqttbytes::v4::Unsubscribe::new(topic);
        unsubscribe.pkid = self.number();
        self.queue(&Packet::Unsubscribe(unsubscribe));
    }

    pub(crate) fn publish(&mut self, topic: String, payload: Vec<u8>, retain: bool) {
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload);
        publish.retain = retain;
        publish.pkid = self.number();
        self.queue(&Packet::Publish(publish));
    }

    pub(crate) fn acknowledge(&mut self, packet: u16) {
        self.queue(&Packet::PubAck(PubAck::new(packet)));
    }

    pub(crate) fn ping(&mut self) {
        self.queue(&Packet::PingReq);
    }

    /// Sends what was queued.
    pub(crate) async fn flush(&mut self) -> Result<(), Lost> {
        if self.outbound.is_empty() {
            return Ok(());
        }
        self.stream.write_all(&self.outbound).await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)?;
        self.outbound.clear();
        Ok(())
    }
}
