//! What rmqtt asks before it lets somebody do something. The answers are those of
//! `gnomon_schemas::acl`.

use async_trait::async_trait;
use gnomon_schemas::acl::{self, Peer};
use gnomon_schemas::ids::FleetId;
use rmqtt::codec::v5::SubscribeAckReason;
use rmqtt::context::ServerContext;
use rmqtt::hook::{Handler, HookResult, Parameter, ReturnType, Type};
use rmqtt::types::{AuthResult, PublishAclResult, SubscribeAclResult};
use std::fmt;

use crate::identity::is_equal;

/// The rules of a fleet's broker, and the word by which it knows its own front.
#[derive(Clone)]
pub(super) struct Hooks {
    pub(super) fleet: FleetId,
    /// Whoever knows it came through the front, which has seen the certificate.
    pub(super) secret: String,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("fleet", &self.fleet).finish_non_exhaustive()
    }
}

impl Hooks {
    /// Puts them in front of everything that they judge.
    pub(super) async fn register(self, context: &ServerContext) {
        let register = context.extends.hook_mgr().register();
        for kind in
            [Type::ClientAuthenticate, Type::ClientSubscribeCheckAcl, Type::MessagePublishCheckAcl]
        {
            register.add(kind, Box::new(self.clone())).await;
        }
        register.start().await;
    }

    fn knows(&self, name: Option<&str>, client: &str, password: Option<&[u8]>) -> bool {
        let is_ours = password.is_some_and(|given| is_equal(given, self.secret.as_bytes()));
        is_ours && name == Some(client) && client.parse::<Peer>().is_ok()
    }
}

#[async_trait]
impl Handler for Hooks {
    async fn hook(&self, parameter: &Parameter, before: Option<HookResult>) -> ReturnType {
        match parameter {
            Parameter::ClientAuthenticate(connect) => {
                let name = connect.username().map(|name| &**name);
                let password = connect.password().map(|password| &**password);
                let result = if self.knows(name, connect.client_id(), password) {
                    AuthResult::Allow(false, None)
                } else {
                    tracing::warn!("refused a connection to the embedded broker's inner port");
                    AuthResult::NotAuthorized
                };
                (false, Some(HookResult::AuthResult(result)))
            }
            Parameter::ClientSubscribeCheckAcl(session, subscribe) => {
                let client: &str = &session.id.client_id;
                let filter: &str = &subscribe.topic_filter;
                let peer = client.parse::<Peer>();
                let result = if peer.is_ok_and(|p| acl::may_subscribe(&self.fleet, &p, filter)) {
                    SubscribeAclResult::new_success(subscribe.opts.qos(), None)
                } else {
                    tracing::warn!(client, filter = %cut(filter), "refused a subscription");
                    SubscribeAclResult::new_failure(SubscribeAckReason::NotAuthorized)
                };
                (false, Some(HookResult::SubscribeAclResult(result)))
            }
            Parameter::MessagePublishCheckAcl(session, publish) => {
                let client: &str = &session.id.client_id;
                let topic: &str = &publish.topic;
                let peer = client.parse::<Peer>();
                let result = if peer.is_ok_and(|p| acl::may_publish(&self.fleet, &p, topic)) {
                    PublishAclResult::allow()
                } else {
                    tracing::warn!(client, topic = %cut(topic), "refused a message; cut off");
                    // MQTT 3.1.1 has no word for no: a silent acknowledgement would lie.
                    PublishAclResult::rejected(true, None)
                };
                (false, Some(HookResult::PublishAclResult(result)))
            }
            _ => (true, before),
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(160).collect()
}
