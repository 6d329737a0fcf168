"""Run by Tryton's own Python: makes its database, and in it a company that sells the demo's medicines to pharmacies.

create URL DATABASE
fill URL CONFIG '{"products": [...], "pharmacies": [...]}'
"""

import json
import sys
from decimal import Decimal

PRICE = Decimal("3.20")


def create(url: str, database: str) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{database}"')


def fill(url: str, configuration: str, world: str) -> None:
    from proteus import Model, config

    config.set_trytond(url, user="admin", config_file=configuration)
    from trytond.modules.account.tests.tools import create_chart, create_fiscalyear, get_accounts
    from trytond.modules.account_invoice.tests.tools import set_fiscalyear_invoice_sequences
    from trytond.modules.company.tests.tools import create_company, get_company

    create_company()
    company = get_company()
    create_chart(company)
    set_fiscalyear_invoice_sequences(create_fiscalyear(company)).click("create_period")
    accounts = get_accounts()
    category = Model.get("product.category")(name="Medicines", accounting=True)
    category.account_expense, category.account_revenue = accounts["expense"], accounts["revenue"]
    category.save()
    (unit,) = Model.get("product.uom").find([("name", "=", "Unit")])
    told = json.loads(world)
    template = Model.get("product.template")
    for code in told["products"]:
        made = template(name=f"Medicine {code}", default_uom=unit, type="goods", salable=True)
        made.list_price, made.account_category = PRICE, category
        made.products[0].suffix_code = code
        made.save()
    party = Model.get("party.party")
    for code in told["pharmacies"]:
        made = party(name=f"Pharmacie {code}", code=code)
        made.addresses[0].street = "1, place de la Mairie"
        made.save()


if __name__ == "__main__":
    {"create": create, "fill": fill}[sys.argv[1]](*sys.argv[2:])
