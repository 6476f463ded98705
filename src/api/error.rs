//! What a request can be refused with: a closed set of exceptions, as the ECS API names them.

use crate::auth::AuthError;
use crate::engine::SubmitError;
use crate::plan::CommandError;
use hyper::StatusCode;

/// The exceptions that this server answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as in the ECS API, without the suffix")]
pub enum Exception {
    AccessDenied,
    AttributeLimitExceeded,
    Client,
    ClusterContainsContainerInstances,
    ClusterContainsServices,
    ClusterContainsTasks,
    ClusterNotFound,
    Conflict,
    GatewayNotFound,
    IncompleteSignature,
    InvalidParameter,
    InvalidSignature,
    LimitExceeded,
    MissingAuthenticationToken,
    NamespaceNotFound,
    NoUpdateAvailable,
    PlatformUnknown,
    RequestEntityTooLarge,
    RequestHeaderFieldsTooLarge,
    RequestTimeout,
    ResourceInUse,
    ResourceNotFound,
    Serialization,
    Server,
    ServiceDeploymentNotFound,
    ServiceNotActive,
    ServiceNotFound,
    TargetNotConnected,
    TargetNotFound,
    UnknownOperation,
    /// `UnknownOperationException` too, for a path or method that is not the API's.
    UnknownPath,
    UnrecognizedClient,
    UnsupportedFeature,
}

impl Exception {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccessDenied => "AccessDeniedException",
            Self::AttributeLimitExceeded => "AttributeLimitExceededException",
            Self::Client => "ClientException",
            Self::ClusterContainsContainerInstances => "ClusterContainsContainerInstancesException",
            Self::ClusterContainsServices => "ClusterContainsServicesException",
            Self::ClusterContainsTasks => "ClusterContainsTasksException",
            Self::ClusterNotFound => "ClusterNotFoundException",
            Self::Conflict => "ConflictException",
            Self::GatewayNotFound => "GatewayNotFoundException",
            Self::IncompleteSignature => "IncompleteSignatureException",
            Self::InvalidParameter => "InvalidParameterException",
            Self::InvalidSignature => "InvalidSignatureException",
            Self::LimitExceeded => "LimitExceededException",
            Self::MissingAuthenticationToken => "MissingAuthenticationTokenException",
            Self::NamespaceNotFound => "NamespaceNotFoundException",
            Self::NoUpdateAvailable => "NoUpdateAvailableException",
            Self::PlatformUnknown => "PlatformUnknownException",
            Self::RequestEntityTooLarge => "RequestEntityTooLargeException",
            Self::RequestHeaderFieldsTooLarge => "RequestHeaderFieldsTooLargeException",
            Self::RequestTimeout => "RequestTimeoutException",
            Self::ResourceInUse => "ResourceInUseException",
            Self::ResourceNotFound => "ResourceNotFoundException",
            Self::Serialization => "SerializationException",
            Self::Server => "ServerException",
            Self::ServiceDeploymentNotFound => "ServiceDeploymentNotFoundException",
            Self::ServiceNotActive => "ServiceNotActiveException",
            Self::ServiceNotFound => "ServiceNotFoundException",
            Self::TargetNotConnected => "TargetNotConnectedException",
            Self::TargetNotFound => "TargetNotFoundException",
            Self::UnknownOperation | Self::UnknownPath => "UnknownOperationException",
            Self::UnrecognizedClient => "UnrecognizedClientException",
            Self::UnsupportedFeature => "UnsupportedFeatureException",
        }
    }

    /// The HTTP status it travels with.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::AccessDenied => StatusCode::FORBIDDEN,
            Self::RequestEntityTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RequestHeaderFieldsTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::UnknownPath => StatusCode::NOT_FOUND,
            Self::Server => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", exception.name())]
pub struct ApiError {
    /// Which.
    pub exception: Exception,
    /// For people, as ECS words it.
    pub message: String,
    /// `resourceIds` of a `ConflictException`.
    pub resource_ids: Vec<String>,
}

impl ApiError {
    /// An error with this text.
    #[must_use]
    pub fn new(exception: Exception, message: impl Into<String>) -> Self {
        Self { exception, message: message.into(), resource_ids: Vec::new() }
    }

    /// `ClientException`.
    #[must_use]
    pub fn client(message: impl Into<String>) -> Self {
        Self::new(Exception::Client, message)
    }

    /// `InvalidParameterException`.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Exception::InvalidParameter, message)
    }

    /// `ClusterNotFoundException`.
    #[must_use]
    pub fn cluster_not_found() -> Self {
        Self::new(Exception::ClusterNotFound, "Cluster not found.")
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Refused(refused) => refused.into(),
            SubmitError::Unavailable(why) => Self::new(Exception::Server, why),
        }
    }
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> Self {
        let message = error.to_string();
        let exception = match error {
            CommandError::ClusterNotFound => Exception::ClusterNotFound,
            CommandError::ClusterContainsServices => Exception::ClusterContainsServices,
            CommandError::ClusterContainsTasks => Exception::ClusterContainsTasks,
            CommandError::ClusterContainsContainerInstances => {
                Exception::ClusterContainsContainerInstances
            }
            CommandError::ServiceNotFound => Exception::ServiceNotFound,
            CommandError::ServiceNotActive => Exception::ServiceNotActive,
            CommandError::ServiceDeploymentNotFound => Exception::ServiceDeploymentNotFound,
            CommandError::TargetNotFound => Exception::TargetNotFound,
            CommandError::AttributeLimitExceeded => Exception::AttributeLimitExceeded,
            CommandError::ResourceInUse(_) => Exception::ResourceInUse,
            CommandError::Client(_) => Exception::Client,
            CommandError::InvalidParameter(_) => Exception::InvalidParameter,
            CommandError::ResourceNotFound(_) => Exception::ResourceNotFound,
            CommandError::Conflict { resource_ids, .. } => {
                return Self { exception: Exception::Conflict, message, resource_ids };
            }
            CommandError::LimitExceeded(_) => Exception::LimitExceeded,
            CommandError::UnsupportedFeature(_) => Exception::UnsupportedFeature,
            CommandError::PlatformUnknown(_) => Exception::PlatformUnknown,
        };
        Self::new(exception, message)
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        let exception = match error {
            AuthError::MissingAuthenticationToken => Exception::MissingAuthenticationToken,
            AuthError::IncompleteSignature(_) => Exception::IncompleteSignature,
            AuthError::UnrecognizedClient => Exception::UnrecognizedClient,
            AuthError::InvalidSignature(_) => Exception::InvalidSignature,
        };
        Self::new(exception, error.to_string())
    }
}
