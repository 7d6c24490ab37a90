"""Provider keys from the vault, in the form that the model layer asks for."""

from opencrust.credentials import CredentialError, Credentials, Secret
from opencrust_agent.models import ErrorKind, ModelError

PURPOSE = "chat"


class ProviderKeys:
    """Leases of provider keys; the client below caches them and drops what was rotated."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def lease(self, name: str) -> Secret:
        """The key under that name.

        Raises:
            ModelError: of kind AUTH, saying that the vault did not give it; the next provider may still answer.
        """
        try:
            return await self._credentials.get(name, purpose=PURPOSE)
        except CredentialError as error:
            raise ModelError(ErrorKind.AUTH, f"the vault did not give {name}: {error}") from None
