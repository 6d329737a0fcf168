"""What a connector over HTTP shows the ERP of who we are: a header, a token that is renewed, a session, a certificate.

Every secret stands in a file of its own that is read when it is used, so that it is renewed without a restart; none
of them is told in an error, nor kept where an ERP echoes it. The face: `AuthOptions` and `TlsOptions` for a
connector's settings, `Credentials` and `ClientTls` for the transport.
"""

from workers.erp.credentials.blanking import blanked as blanked
from workers.erp.credentials.client_tls import ClientTls as ClientTls
from workers.erp.credentials.credentials import Credentials as Credentials
from workers.erp.credentials.credentials import Fixed as Fixed
from workers.erp.credentials.credentials import open_credentials as open_credentials
from workers.erp.credentials.options import AuthOptions as AuthOptions
from workers.erp.credentials.options import SecretFile as SecretFile
from workers.erp.credentials.options import TlsOptions as TlsOptions
from workers.erp.credentials.options import beside as beside
from workers.erp.credentials.pins import Pins as Pins
from workers.erp.credentials.shown import ANONYMOUS as ANONYMOUS
from workers.erp.credentials.shown import Shown as Shown
from workers.erp.credentials.shown import bearing as bearing
